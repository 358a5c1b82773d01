/* Charts over time by uPlot, in the colours of style.css.
 *
 *   chart({title, unit, series: [{label, colour, area}], stacked, height, span_s, note})
 *     -> {node, set(xs, [ys, …]), end()}
 *   xs: seconds since 1970; ys: one list of numbers or nulls a series; the newest is at the right
 *   stacked: areas on each other, the first at the bottom. The names of the series show the newest
 *   values, or those under the pointer. */
import {el, moment, number} from './dom.js';
import {colour, on_look} from './look.js';
import {tag} from './words.js';

const RETRY_MS = 2000;
let loaded = null;

/* The page loads it, or this does, again until it is there: from a template, as Trusted Types refuses the src of a script element made by code. */
function uplot_is_there() {
    return loaded ??= (async () => {
        while (!globalThis.uPlot)
            await new Promise(resolve => {
                const script = document.importNode(document.querySelector('#uplot').content, true).firstElementChild;
                script.addEventListener('load', resolve);
                script.addEventListener('error', () => setTimeout(resolve, RETRY_MS));
                document.head.append(script);
            });
    })();
}

uplot_is_there();

function stack(ys) {
    const sums = new Array(ys[0]?.length ?? 0).fill(0);
    return ys.map(list => list.map((y, i) => sums[i] += y ?? 0));
}

function short(value) {
    return value.toLocaleString(tag(), {notation: 'compact', maximumSignificantDigits: 3});
}

function axes(height) {
    const font = '11px system-ui, sans-serif', soft = colour('soft'), line = colour('line');
    return [
        {stroke: soft, font, grid: {show: false}, ticks: {show: true, stroke: line, size: 4}, size: 24, space: 70,
            values: (plot, at) => at.map(s => new Date(s * 1000).toLocaleTimeString(tag(), {hour: '2-digit', minute: '2-digit', hourCycle: 'h23'}))},
        {stroke: soft, font, grid: {stroke: line, width: 1}, ticks: {show: false}, size: 44, gap: 4, space: Math.max(24, height / 5), values: (plot, at) => at.map(short)},
    ];
}

export function chart({title, unit, series, stacked = false, height = 150, span_s = 600, note}) {
    const values = series.map(() => el('b', {}, '–')), at = el('span', {class: 'soft'}, note ?? '');
    const place = el('div', {class: 'canvas', role: 'img', 'aria-label': title});
    const names = series.map((one, i) => el('li', {}, el('i', {class: one.colour}), one.label + ' ', values[i]));
    const node = el('figure', {},
        el('div', {class: 'chart-head'}, el('h3', {}, title), at), place,
        el('ul', {class: 'legend'}, names));
    let xs = [], ys = series.map(() => []), plot = null, is_ended = false;

    const say = index => {
        const i = index ?? xs.length - 1;
        series.forEach((one, s) => values[s].textContent = number(ys[s][i], one.unit ?? unit));
        at.textContent = index === null || index === undefined ? note ?? '' : moment(xs[index] * 1000);
    };
    const drawn = () => [xs, ...(stacked ? stack(ys).reverse() : ys)];
    const range = (plot, low, high) => [0, high > 0 ? high * 1.06 : 1];
    const make = () => {
        plot?.destroy();
        const order = stacked ? [...series].reverse() : series;
        plot = new globalThis.uPlot({
            width: Math.max(place.clientWidth, 60), height, padding: [6, 2, 0, 0], legend: {show: false}, axes: axes(height),
            cursor: {y: false, drag: {x: false, y: false}, points: {show: !stacked, size: 6}},
            scales: {x: {time: true, range: () => [(xs.at(-1) ?? 0) - span_s, xs.at(-1) ?? 1]}, y: {range}},
            series: [{}, ...order.map(one => ({
                stroke: colour(one.colour), width: stacked ? 0 : 1.5, points: {show: false},
                fill: stacked ? colour(one.colour) : one.area ? colour(one.colour).replace('rgb(', 'rgba(').replace(')', ', .16)') : undefined,
                dash: one.dashed ? [4, 4] : undefined,
            }))],
            hooks: {setCursor: [made => say(made.cursor.idx)]},
        }, drawn(), place);
    };
    const watcher = new ResizeObserver(() => {
        if (plot === null)
            uplot_is_there().then(() => plot === null && !is_ended && make());
        else if (place.clientWidth > 0 && place.clientWidth !== plot.width)
            plot.setSize({width: place.clientWidth, height});
    });
    watcher.observe(place);
    const forget = on_look(() => plot !== null && make());
    return {
        node,
        set(new_xs, new_ys) {
            [xs, ys] = [new_xs, new_ys];
            names.forEach((name, i) => name.hidden = stacked && !ys[i].some(y => y > 0));
            plot?.setData(drawn());
            say(plot?.cursor.idx);
        },
        end() {
            is_ended = true;
            watcher.disconnect();
            forget();
            plot?.destroy();
        },
    };
}
