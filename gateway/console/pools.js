// Pools: their endpoints as they are now, and those that have registered themselves.
import {call} from './api.js';
import {ask} from './ask.js';
import {show_kind} from './documents.js';
import {countdown, el, moment, notice, number, say_error} from './dom.js';
import {is_used, live_cells, live_columns} from './endpoints.js';
import {api_path, KINDS} from './kinds.js';
import {cells_table} from './looking.js';
import {may} from './router.js';
import {t} from './words.js';

const kind = KINDS.pool;

function up(doc) {
    return (doc.live || []).filter(is_used).length;
}

const columns = [
    {key: 'algorithm', title: 'pools.algorithm', cell: doc => el('code', {}, doc.algorithm)},
    {key: 'up', title: 'pools.up', numeric: true, cell: doc => el('span', {class: up(doc) < (doc.live || []).length ? 'badge on' : 'badge'}, `${up(doc)} / ${(doc.live || []).length}`)},
    {key: 'panic', title: 'pools.panic', cell: doc => doc.panic ? el('span', {class: 'badge on'}, t('pools.in_panic')) : '–'},
    {key: 'discovery', title: 'pools.discovery', cell: doc => doc.discovery ? el('code', {}, Object.keys(doc.discovery)[0]) : '–'},
    {key: 'in_flight', title: 'pools.in_flight', numeric: true, cell: doc => number((doc.live || []).reduce((sum, one) => sum + one.in_flight, 0))},
];

function live_table(live) {
    return cells_table([{key: 'address', title: t('pools.address')}, ...live_columns()], live.map(live_cells));
}

async function remove(page, address) {
    const answer = await ask({title: t('pools.remove'), text: t('pools.remove.text', {address}), danger: true});
    if (answer === null)
        return;
    try {
        await call('DELETE', `${api_path(kind, page.name)}/endpoints/${encodeURIComponent(address)}`, {body: {reason: answer.reason}});
        notice('ok', t('pools.removed', {address}));
        page.refresh();
    } catch (error) {
        say_error(error);
    }
}

function registered_table(page, endpoints) {
    const operator = may(page.ctx.role, 'operator');
    return [el('h2', {}, t('pools.registered')), endpoints.length === 0 ? el('p', {class: 'soft'}, t('pools.none_registered'))
        : cells_table([{key: 'address', title: t('pools.address')}, {key: 'weight', title: t('pools.weight'), numeric: true}, {key: 'left', title: t('pools.expires')},
                 {key: 'by', title: t('pools.by')}, ...(operator ? [{key: 'remove', title: t('pools.remove')}] : [])],
                endpoints.map(one => ({key: one.address, address: el('code', {}, one.address), weight: number(one.weight), left: countdown(one.expires_at, page.refresh),
                    by: el('code', {}, one.by), remove: operator && el('button', {type: 'button', class: 'small', 'aria-label': `${t('pools.remove')}: ${one.address}`,
                                                                                onclick: () => remove(page, one.address)}, t('pools.remove'))})))];
}

async function draw_panel(place, doc, page) {
    const registers = doc.discovery?.registration === true;
    const endpoints = registers ? (await call('GET', `${api_path(kind, page.name)}/endpoints`)).body.endpoints : [];
    page.put_panel(place, [doc.live, doc.panic, endpoints], () => [
        doc.panic && el('p', {class: 'warning'}, t('pools.panic_since'), ' ', moment(doc.panic_since)),
        el('h2', {}, t('pools.live')), (doc.live || []).length > 0 ? live_table(doc.live) : el('p', {class: 'soft'}, t('pools.no_live')),
        registers && registered_table(page, endpoints)]);
}

function panel(place, doc, page) {
    draw_panel(place, doc, page).catch(page.say_trouble);
}

export function show(root, ctx) {
    return show_kind(root, ctx, {kind, columns, about: t('pools.about')}, {panel, begin: () => ({endpoints: [{address: '127.0.0.1:9001'}]})});
}
