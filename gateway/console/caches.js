// Caches: what they hold, and taking answers out of them.
import {call} from './api.js';
import {ask} from './ask.js';
import {show_kind} from './documents.js';
import {el, notice, number, percent, say_error} from './dom.js';
import {api_path, KINDS} from './kinds.js';
import {may} from './router.js';
import {t} from './words.js';

const kind = KINDS.cache;

function hit_share({hits, fetches}) {
    return hits + fetches === 0 ? '–' : percent(hits / (hits + fetches));
}

const columns = [
    {key: 'bytes', title: 'caches.used', numeric: true, cell: doc => `${number(doc.live?.bytes_held ?? 0, 'bytes')} / ${number(doc.bytes, 'bytes')}`},
    {key: 'entries', title: 'caches.entries', numeric: true, cell: doc => number(doc.live?.entries ?? 0)},
    {key: 'hits', title: 'caches.hit_share', numeric: true, cell: doc => doc.live ? hit_share(doc.live) : '–'},
    {key: 'evicted', title: 'caches.evicted', numeric: true, cell: doc => number(doc.live?.evicted ?? 0)},
    {key: 'eviction', title: 'caches.eviction', cell: doc => el('code', {}, doc.eviction)},
];

async function purge(page) {
    const answer = await ask({title: t('caches.purge_of', {name: page.name}), button: t('caches.purge_now'), text: t('caches.purge.text'), danger: true, fields: [
        {name: 'by', label: t('caches.by'), options: ['key', 'prefix', 'tag'].map(value => ({value, label: t('caches.by_' + value)}))},
        {name: 'what', label: t('caches.what'), hint: t('caches.what.hint'), required: true, max: 4096}]});
    if (answer === null)
        return;
    try {
        const {body} = await call('POST', `${api_path(kind, page.name)}/purge`, {body: {[answer.by]: answer.what, reason: answer.reason}});
        notice('ok', t('caches.purged', {name: page.name, purged: number(body.live.purged)}));
        page.refresh();
    } catch (error) {
        say_error(error);
    }
}

function figures(live, prefix = '') {
    return Object.entries(live).flatMap(([name, value]) => value !== null && typeof value === 'object' ? figures(value, `${prefix}${name}.`)
        : [el('dt', {}, el('code', {}, prefix + name)), el('dd', {}, number(value))]);
}

function panel(place, doc, page) {
    page.put_panel(place, doc.live, () => [el('h2', {}, t('caches.live')), doc.live && el('dl', {class: 'facts'}, figures(doc.live)),
        may(page.ctx.role, 'operator') && el('div', {class: 'commands'}, el('button', {type: 'button', id: 'cache-purge', onclick: () => purge(page)}, t('caches.purge')))]);
}

export function show(root, ctx) {
    return show_kind(root, ctx, {kind, columns, about: t('caches.about')}, {panel, begin: () => ({bytes: 67108864})});
}
