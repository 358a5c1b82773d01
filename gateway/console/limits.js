// Limits: rules with their figures, their trials, and how they are overridden now.
import {call} from './api.js';
import {show_kind} from './documents.js';
import {el, names, number} from './dom.js';
import {KINDS} from './kinds.js';
import {t} from './words.js';
import {override_panel} from './override_parts.js';

const kind = KINDS.limit;

function rate_text({rate, period_s, burst, algorithm}) {
    const text = t('limits.rate_text', {rate: number(rate), period_s: number(period_s)});
    return text + (algorithm?.endsWith('bucket') && burst !== undefined ? ` · ${t('limits.burst', {burst: number(burst)})}` : '');
}

function scope(doc) {
    const list = [doc.sale && ['sale', doc.sale], doc.route && ['route', doc.route]].filter(Boolean);
    return [(doc.applies_to || []).map(one => [el('code', {}, one), ' ']), ...list.map(([word, name]) => [' · ', el('code', {}, word), ' ', el('code', {}, name)])];
}

const columns = [
    {key: 'mode', title: 'limits.mode', cell: doc => el('span', {class: `badge ${doc.mode === 'enforce' ? '' : 'on'}`}, el('code', {}, doc.mode))},
    {key: 'key', title: 'limits.key', cell: doc => el('code', {}, doc.key)},
    {key: 'rate', title: 'limits.rate', cell: doc => el('span', {class: 'one-line'}, rate_text(doc))},
    {key: 'algorithm', title: 'limits.algorithm', cell: doc => el('code', {}, doc.algorithm)},
    {key: 'applies_to', title: 'limits.applies_to', cell: scope},
    {key: 'trial', title: 'limits.trial', cell: doc => doc.trial ? el('span', {class: 'one-line'}, rate_text({...doc.trial, burst: undefined})) : '–'},
];

/** Counters of one rule, from the metrics of this gateway. */
async function counters(name) {
    const text = String((await call('GET', '/metrics')).body);
    const of = metric => {
        const line = text.split('\n').find(one => one.startsWith(`${metric}{rule="${name}"}`));
        return line === undefined ? undefined : Number(line.split(' ')[1]);
    };
    return {refused: of('penstock_limit_refused_total'), shadow: of('penstock_limit_shadow_refused_total'), trial: of('penstock_limit_trial_refused_total')};
}

function panel(place, doc, page) {
    Promise.all([counters(page.name), override_panel(page, `limit:${page.name}`)]).then(([counted, override]) =>
        page.put_panel(place, [counted, override.key], () => [
            el('p', {}, names(t('limits.counted', Object.fromEntries(Object.entries(counted).map(([key, value]) => [key, value ?? '–']))))), override.node()]))
        .catch(page.say_trouble);
}

export function show(root, ctx) {
    return show_kind(root, ctx, {kind, columns, about: t('limits.about')},
                     {panel, begin: () => ({algorithm: 'token_bucket', key: 'ip', rate: 50, period_s: 10, mode: 'shadow'})});
}
