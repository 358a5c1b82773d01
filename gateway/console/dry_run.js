// What a dry run says, for people: the difference of each document, what a limit would have refused,
// which features a level turns off and how often they were used.
import {differences, difference_view, patch_differences} from './diff.js';
import {el, number, said} from './dom.js';
import {t} from './words.js';

/** What a changed limit would have refused in the last minute. */
export function forecast_text({source, seconds, seen, refused, error, one_in, not_known}) {
    const figures = {seconds, seen: number(seen), refused: number(refused), error: number(error), one_in};
    const how = source === 'trial' ? 'dry.by_trial' : one_in === 1 ? 'dry.by_all' : 'dry.by_sample';
    return [t('dry.refused', figures), ' ', t(how, figures), not_known ? [' ', said(not_known)] : null];
}

function feature_item({feature, uses_last_minute, while_off}) {
    return el('li', {}, el('code', {}, feature), ' ', t('dry.used', {times: number(uses_last_minute)}), ' ',
              el('span', {class: 'soft'}, said(while_off)));
}

/** For each level what it would turn off; `only`: one level. */
export function levels_view(levels, only) {
    const shown = levels.filter(one => only === undefined || one.level === only);
    return el('div', {class: 'levels'}, ...shown.map(({level, turned_off}) =>
        el('details', {open: only !== undefined}, el('summary', {}, t('dry.level', {level, count: turned_off.length})),
           turned_off.length > 0 ? el('ul', {}, ...turned_off.map(feature_item)) : el('p', {}, t('dry.level_nothing')))));
}

/** One of `changes` of a dry run. `before`: the document in force, if the page has it. */
export function change_view(change, before) {
    const rows = before !== undefined ? differences(before, change.result ?? undefined) : patch_differences(before, change.difference);
    return el('section', {class: 'dry-change'},
              el('h3', {}, t('dry.' + change.action), ' ', el('code', {}, change.document)),
              difference_view(rows),
              change.opens === 'now' && el('p', {class: 'warning'}, t('dry.opens_now')),
              change.last_minute && el('p', {class: 'forecast'}, forecast_text(change.last_minute)));
}

/** All that a dry run of one document's change says, without the difference. */
export function consequences(dry) {
    const forecasts = (dry.changes || []).filter(one => one.last_minute);
    const opens = (dry.changes || []).some(one => one.opens === 'now');
    if (forecasts.length === 0 && !opens && !dry.levels)
        return null;
    return el('div', {class: 'consequences'},
              opens && el('p', {class: 'warning'}, t('dry.opens_now')),
              ...forecasts.map(one => el('p', {class: 'forecast'}, forecast_text(one.last_minute))),
              dry.levels && el('h3', {}, t('dry.levels')), dry.levels && levels_view(dry.levels));
}
