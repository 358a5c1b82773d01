// Features: what the ladder turns off, at which level, and whether each is on now.
import {show_kind} from './documents.js';
import {el, number} from './dom.js';
import {KINDS} from './kinds.js';
import {override_panel} from './override_parts.js';
import {has_word, t} from './words.js';

function on_mark(doc) {
    return el('span', {class: `badge ${doc.state === 'on' ? '' : 'on'}`}, el('code', {}, doc.state));
}

// A feature of a newer gateway has its text in English alone.
function while_off(doc) {
    return has_word('features.off_' + doc.feature) ? t('features.off_' + doc.feature) : doc.while_off;
}

const columns = [
    {key: 'state', title: 'features.state', cell: doc => [on_mark(doc), doc.reason && [' ', doc.reason]]},
    {key: 'level', title: 'features.level', numeric: true, cell: doc => doc.level === null ? t('features.never') : number(doc.level)},
    {key: 'uses', title: 'features.uses', numeric: true, cell: doc => number(doc.uses_last_minute)},
    {key: 'while_off', title: 'features.while_off', cell: while_off},
];

function panel(place, doc, page) {
    override_panel(page, `feature:${page.name}`).then(overrides => page.put_panel(place, [overrides.key, doc.state, doc.reason, doc.uses_last_minute], () => [
        el('p', {}, on_mark(doc), doc.reason && [' ', doc.reason], ' · ', t('features.used', {times: number(doc.uses_last_minute)})),
        el('p', {}, while_off(doc)), overrides.node()])).catch(page.say_trouble);
}

export function show(root, ctx) {
    return show_kind(root, ctx, {kind: KINDS.feature, columns, about: t('features.about')}, {panel});
}
