// Overrides as pages show them: a row each with what it would be otherwise, its countdown, its end.
import {call} from './api.js';
import {end_override} from './desk.js';
import {countdown, el, moment} from './dom.js';
import {cells_table} from './looking.js';
import {may} from './router.js';
import {t} from './words.js';

export function value_code(value) {
    return value === null || value === undefined ? '–' : el('code', {}, String(value));
}

export function overrides_table(ctx, overrides, again) {
    const operator = may(ctx.role, 'operator');
    return cells_table([{key: 'target', title: t('override.target')}, {key: 'value', title: t('override.value')}, {key: 'without', title: t('override.without')},
                  {key: 'left', title: t('override.left')}, {key: 'by', title: t('override.by')}, {key: 'reason', title: t('override.reason')},
                  ...(operator ? [{key: 'end', title: t('override.end')}] : [])],
                 overrides.map(one => ({
                     key: `${one.target} ${one.gateway}`,
                     target: [el('code', {}, one.target), one.gateway && [' ', t('override.at', {gateway: one.gateway})]],
                     value: value_code(one.value), without: value_code(one.without), left: countdown(one.until, again),
                     by: [el('code', {}, one.by), ' ', moment(one.since), one.run && [' ', el('a', {href: `#/runs/${one.run}`}, t('override.of_run'))]],
                     reason: one.reason,
                     end: operator && el('button', {type: 'button', class: 'small', 'aria-label': `${t('override.end')}: ${one.target}`,
                                                    onclick: async () => await end_override(one) && again()}, t('override.end'))})));
}

/** What overrides hold for a document's page: {key, node()}. A target that ends with a colon stands for all that begin so. */
export async function override_panel(page, ...targets) {
    const {overrides} = (await call('GET', '/admin/v1/overrides')).body;
    const mine = overrides.filter(one => targets.some(target => target.endsWith(':') ? one.target.startsWith(target) : one.target === target));
    return {key: mine, node: () => el('div', {class: 'overrides'},
        mine.length > 0 ? [el('h2', {}, t('override.here')), overrides_table(page.ctx, mine, page.refresh)] : el('p', {class: 'soft'}, t('override.none_here')),
        may(page.ctx.role, 'operator') && el('p', {}, el('a', {href: `#/overrides?target=${encodeURIComponent(targets[0])}`}, t('override.set_here'))))};
}
