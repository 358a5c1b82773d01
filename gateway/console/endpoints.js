// Every server of every pool on one page, as this gateway sees it now, and the same figures as a file.
import {el, moment, names, now, number, percent, said} from './dom.js';
import {KINDS, list_page, page_path} from './kinds.js';
import {cells_table, keep_looking, put_again} from './looking.js';
import {t} from './words.js';

const LOOK_EVERY_MS = 2000;
const SUMS = ['connections', 'in_flight', 'requests', 'errors'];
/* Of the file: members as the API names them. */
const FIELDS = ['address', 'state', 'since', 'why', 'breaker', 'weight', 'weight_now', ...SUMS, 'ewma_ms', 'p50_ms', 'p99_ms'];

function ms(value) {
    return value === null ? '–' : number(value, 'ms');
}

export function is_used({state}) {
    return state === 'up' || state === 'slow_start';
}

/** The columns of a table of endpoints, after the one that names them. */
export function live_columns() {
    return [{key: 'state', title: t('pools.state')}, {key: 'breaker', title: t('pools.breaker')},
            ...['weight_now', ...SUMS].map(key => ({key, title: t('pools.' + key), numeric: true})),
            {key: 'p50_ms', title: 'p50', numeric: true}, {key: 'p99_ms', title: 'p99', numeric: true}];
}

export function live_cells(one) {
    return {address: el('code', {}, one.address), state: [el('span', {class: `badge ${one.state === 'up' ? '' : 'on'}`}, el('code', {}, one.state)), ' ',
                el('span', {class: 'soft'}, moment(one.since)), one.why && [' ', said(one.why)]],
            breaker: el('code', {}, one.breaker), ...Object.fromEntries(['weight_now', ...SUMS].map(key => [key, number(one[key])])), p50_ms: ms(one.p50_ms), p99_ms: ms(one.p99_ms)};
}

function pool_cells(name, {live, panic, health}) {
    const sum = key => live.reduce((all, one) => all + one[key], 0), requests = sum('requests');
    return {...Object.fromEntries(SUMS.map(key => [key, number(sum(key))])), is_head: true,
            address: el('a', {href: `#/${page_path(KINDS.pool, name)}`}, el('code', {}, name)),
            state: [el('span', {class: `badge ${live.every(is_used) ? '' : 'on'}`}, `${live.filter(is_used).length} / ${live.length}`), ' ',
                panic && [el('span', {class: 'warning'}, t('pools.in_panic')), ' '],
                el('span', {class: 'soft'}, health ? [names(t('endpoints.check')), ' ', el('code', {}, health.path), ' ', number(health.interval_ms, 'ms')] : t('endpoints.no_check'))],
            breaker: '', weight_now: '', errors: [number(sum('errors')), requests > 0 && ` (${percent(sum('errors') / requests)})`], p50_ms: '', p99_ms: ''};
}

async function all_pools(signal) {
    let rows = [], after;
    do {
        const page = await list_page(KINDS.pool, {after, signal});
        rows = rows.concat(page.rows);
        after = page.next;
    } while (after);
    return rows.map(({name, doc}) => ({name, doc: {...doc, live: doc.live ?? []}}));
}

// RFC 4180. A text that a spreadsheet would run as a formula gets an apostrophe (OWASP, "CSV Injection").
function csv(pools) {
    const quoted = text => `"${text.replaceAll('"', '""')}"`;
    const cell = value => value === null || value === undefined ? '' : typeof value === 'string' && /^[=+\-@\t\r]/.test(value) ? quoted(`'${value}`)
        : /[",\r\n]/.test(value) ? quoted(String(value)) : String(value);
    const rows = pools.flatMap(({name, doc}) => doc.live.map(one => [name, ...FIELDS.map(key => one[key])]));
    return [['pool', ...FIELDS], ...rows].map(row => row.map(cell).join(',') + '\r\n').join('');
}

function download(name, text) {
    const url = URL.createObjectURL(new Blob([text], {type: 'text/csv'}));
    el('a', {href: url, download: name}).click();
    URL.revokeObjectURL(url);
}

export function show(root, ctx) {
    const place = el('div', {class: 'card list dense'}), count = el('span', {class: 'soft', role: 'status'}), time = el('time', {class: 'soft'});
    let pools = [], shown = '', at = '';
    const save = el('button', {type: 'button', disabled: true, onclick: () =>
        download(`endpoints-${ctx.gateway}-${at.slice(0, 19).replaceAll(':', '')}Z.csv`, csv(pools))}, t('endpoints.csv'));
    const look = async signal => {
        const found = await all_pools(signal), text = JSON.stringify(found);
        if (signal.aborted)
            return;
        at = new Date(now()).toISOString();
        time.dateTime = at;
        time.textContent = moment(at);
        if (text === shown)
            return;
        [pools, shown] = [found, text];
        const all = pools.flatMap(({doc}) => doc.live);
        save.disabled = all.length === 0;
        count.textContent = t('endpoints.count', {all: number(all.length), pools: number(pools.length), away: number(all.filter(one => !is_used(one)).length)});
        put_again(place, pools.length === 0 ? el('p', {class: 'soft'}, t('list.none'))
            : cells_table([{key: 'address', title: t('endpoints.endpoint')}, ...live_columns()], pools.flatMap(({name, doc}) => [pool_cells(name, doc), ...doc.live.map(live_cells)])));
    };
    root.append(el('h1', {}, t('nav.endpoints')), el('p', {class: 'soft'}, t('endpoints.about')), el('div', {class: 'commands'}, count, time, save), place);
    return keep_looking(look, LOOK_EVERY_MS);
}
