// Features: what the ladder turns off, at which level, and whether each is on now.
import {show_kind} from './documents.js';
import {el, number, said} from './dom.js';
import {KINDS} from './kinds.js';
import {override_panel} from './override_parts.js';
import {t} from './words.js';

function on_mark(doc) {
    return el('span', {class: `badge ${doc.state === 'on' ? '' : 'on'}`}, el('code', {}, doc.state));
}

const columns = [
    {key: 'state', title: 'features.state', cell: doc => [on_mark(doc), doc.reason && [' ', said(doc.reason)]]},
    {key: 'level', title: 'features.level', numeric: true, cell: doc => doc.level === null ? t('features.never') : number(doc.level)},
    {key: 'uses', title: 'features.uses', numeric: true, cell: doc => number(doc.uses_last_minute)},
    {key: 'while_off', title: 'features.while_off', cell: doc => said(doc.while_off)},
];

function panel(place, doc, page) {
    override_panel(page, `feature:${page.name}`).then(overrides => page.put_panel(place, [overrides.key, doc.state, doc.reason, doc.uses_last_minute], () => [
        el('p', {}, on_mark(doc), doc.reason && [' ', said(doc.reason)], ' · ', t('features.used', {times: number(doc.uses_last_minute)})),
        el('p', {}, said(doc.while_off)), overrides.node()])).catch(page.say_trouble);
}

export function show(root, ctx) {
    return show_kind(root, ctx, {kind: KINDS.feature, columns, about: t('features.about')}, {panel});
}
