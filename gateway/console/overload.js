// Overload: the signals and their shares now, why the level is what it is, and the document of thresholds.
import {show_kind} from './documents.js';
import {el, moment, number, said} from './dom.js';
import {KINDS} from './kinds.js';
import {cells_table} from './looking.js';
import {override_panel} from './override_parts.js';
import {has_word, t} from './words.js';

function figure(value, unit) {
    return number(value, has_word('unit.' + unit) ? unit : undefined);
}

function signals_table(signals) {
    return cells_table([{key: 'signal', title: t('overload.signal')}, {key: 'value', title: t('overload.value'), numeric: true}, {key: 'threshold', title: t('overload.threshold'), numeric: true},
                  {key: 'weight', title: t('overload.weight'), numeric: true}, {key: 'share', title: t('overload.share'), numeric: true}],
                 Object.entries(signals).map(([name, one]) => ({key: name, signal: [el('code', {}, name), one.absent && [' ', el('span', {class: 'soft'}, said(one.absent))]], value: figure(one.value, one.unit), threshold: figure(one.threshold, one.unit),
                     weight: number(one.weight), share: figure(one.share, 'share')})));
}

function changes_list(changes) {
    return el('ol', {class: 'soft'}, changes.slice(0, 8).map(one => el('li', {}, moment(one.at), ' ', t('overload.change', {from: one.from, to: one.to}), ' ',
        el('code', {}, one.cause), ' ', Object.keys(one.signals).map(name => [el('code', {}, name), ' ']))));
}

function panel(place, doc, page) {
    override_panel(page, 'level').then(overrides => page.put_panel(place, [overrides.key, doc.level, doc.at], () => [
        el('p', {class: 'figures'}, t('overload.now', {level: doc.level, pressure: figure(doc.pressure, 'share')}), ' ', doc.highest && el('code', {}, doc.highest), doc.since && [' · ', t('overload.since', {at: moment(doc.since)})], doc.why && [' · ', said(doc.why)]),
        doc.level !== doc.level_by_pressure && el('p', {class: 'warning'}, t('overload.by_pressure', {level: doc.level_by_pressure})),
        overrides.node(), signals_table(doc.signals), doc.changes.length > 0 && [el('h2', {}, t('overload.changes')), changes_list(doc.changes)]]))
        .catch(page.say_trouble);
}

export function show(root, ctx) {
    return show_kind(root, ctx, {kind: KINDS.overload, columns: []}, {panel});
}
