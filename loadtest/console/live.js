/* The page of a rehearsal: the console's first page as the rehearsal relays it, with what the
 * simulated buyers were told on top. */
import {chart} from './charts.js';
import {duration, el, number} from './dom.js';
import {frame} from './frame.js';
import {by_group, groups} from './groups.js';
import {language_switch, look_switch} from './look.js';
import {show_now} from './now.js';
import {open_stream} from './stream.js';
import {add_words, on_language, t} from './words.js';

add_words({
    'live.title': {en: 'Rehearsal {sale}', zh: '演练 {sale}'},
    'live.waiting': {en: 'The rehearsal begins', zh: '演练即将开始'},
    'live.crowd': {en: 'What the simulated buyers see', zh: '模拟买家所见'},
    'live.clicks': {en: 'Clicks', zh: '点击'},
    'live.answered': {en: 'Answered', zh: '已应答'},
    'live.in_flight': {en: 'In flight', zh: '等待应答'},
    'live.waiting_for': {en: 'Wait for a connection', zh: '等待连接'},
    'live.connections': {en: 'Connections', zh: '连接数'},
    'live.elapsed': {en: 'Time since the first click', zh: '自首次点击'},
    'live.answers': {en: 'Answers a second, as buyers got them', zh: '买家每秒收到的应答'},
    'live.waits': {en: 'How long buyers waited', zh: '买家等待时间'},
    'live.p99': {en: 'p99, all', zh: 'p99（全部）'},
    'live.p99_admitted': {en: 'p99, with an order', zh: 'p99（下单成功）'},
    'live.gone': {en: 'The rehearsal is over; its report has the rest.', zh: '演练已结束，详见报告。'},
    'live.last': {en: 'last {n}', zh: '最近 {n}'},
});

const EACH_MS = 1000, SPAN_S = 120;
let gone = false;

function tile(label) {
    const value = el('b', {}, '–');
    return {node: el('div', {class: 'figure'}, el('span', {}, label), value), set: text => value.textContent = text};
}

/** The middle of each slot, and its answers a second by group. */
function curves({timeline, elapsed_s}) {
    const began = Date.now() / 1000 - elapsed_s, slot_s = timeline.slot_ms / 1000, slots = Math.max(timeline.offered.length - 1, 0); /* the last one is not over */
    const answers = groups.map(() => new Array(slots).fill(0));
    for (const [code, counts] of Object.entries(timeline.answers)) {
        const at = by_group({[code]: 1}).indexOf(1);
        counts.slice(0, slots).forEach((n, i) => answers[at][i] += n / slot_s);
    }
    return {xs: Array.from({length: slots}, (_, i) => began + (i + 0.5) * slot_s), answers, began};
}

function crowd() {
    const tiles = {offered: tile(t('live.clicks')), answered: tile(t('live.answered')), in_flight: tile(t('live.in_flight')), waiting: tile(t('live.waiting_for')),
        connected: tile(t('live.connections')), elapsed: tile(t('live.elapsed'))};
    const note = t('live.last', {n: duration(SPAN_S * 1000)}), span_s = SPAN_S, title = el('h2', {}, t('live.waiting'));
    const answers = chart({title: t('live.answers'), unit: 'per_s', stacked: true, height: 170, span_s, note, series: groups.map(group => ({label: t('group_of.' + group.name), colour: group.colour}))});
    const waits = chart({title: t('live.waits'), unit: 'ms', height: 170, span_s, note, series: [{label: t('live.p99'), colour: 'ink', area: true}, {label: t('live.p99_admitted'), colour: 'yes'}]});
    const node = el('section', {'aria-label': t('live.crowd')}, el('header', {class: 'section-head'}, title, el('p', {class: 'soft'}, t('live.crowd'))),
        el('div', {class: 'tiles'}, Object.values(tiles).map(one => one.node)), el('div', {class: 'charts'}, el('div', {class: 'card'}, answers.node), el('div', {class: 'card'}, waits.node)));
    const draw = data => {
        const {xs, answers: lists, began} = curves(data), slot_s = data.timeline.latency_ms.all.slot_ms / 1000;
        title.textContent = t('live.title', {sale: data.sale});
        for (const name of ['offered', 'in_flight', 'waiting', 'connected'])
            tiles[name].set(number(data[name]));
        tiles.answered.set(number(Object.values(data.timeline.answers).flat().reduce((sum, n) => sum + n, 0)));
        tiles.elapsed.set(duration(data.elapsed_s * 1000));
        answers.set(xs, lists);
        const {all, admitted} = data.timeline.latency_ms;
        waits.set(all.p99.map((_, i) => began + (i + 0.5) * slot_s), [all.p99, admitted.p99]);
    };
    const look = async () => {
        try {
            const data = await (await fetch('crowd', {cache: 'no-store'})).json();
            gone = false;
            if (data.timeline)
                draw(data);
        } catch {
            gone = true;
        }
    };
    const timer = setInterval(look, EACH_MS);
    look();
    return {node, end() {
        clearInterval(timer);
        answers.end();
        waits.end();
    }};
}

async function history() {
    const answer = await fetch('overload', {cache: 'no-store'});
    if (!answer.ok)
        throw new Error(String(answer.status));
    return answer.json();
}

const stream = open_stream({path: 'events'});
const {main, draw} = frame({stream, gateway: () => stream.last?.gateway ?? '', tools: () => [language_switch(), look_switch()], stale: () => gone ? t('live.gone') : ''});
let end = null;

function show() {
    end?.();
    main.replaceChildren();
    const page = el('div', {class: 'page'});
    main.append(page);
    draw();
    end = show_now(page, {events: stream}, {history, crowd, span_s: SPAN_S});
}

document.title = 'Penstock';
show();
on_language(show);
