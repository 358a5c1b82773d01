// The blocklist: users and ranges of addresses, and when each entry ends.
import {show_kind, show_list} from './documents.js';
import {countdown, el, moment} from './dom.js';
import {KINDS} from './kinds.js';
import {t} from './words.js';

const columns = [
    {key: 'reason', title: 'block.reason', cell: doc => doc.reason || '–'},
    {key: 'until', title: 'block.until', cell: doc => doc.until ? [moment(doc.until), ' (', countdown(doc.until), ')'] : t('block.never')},
    {key: 'by', title: 'block.by', cell: doc => el('code', {}, doc.by)},
    {key: 'created_at', title: 'block.since', cell: doc => moment(doc.created_at)},
];

function panel(place, doc, page) {
    page.put_panel(place, [doc.until, doc.reason], () => [el('dl', {class: 'facts'},
        el('dt', {}, t('block.reason')), el('dd', {}, doc.reason || '–'),
        el('dt', {}, t('block.until')), el('dd', {}, doc.until ? [moment(doc.until), ' (', countdown(doc.until, page.refresh), ')'] : t('block.never')),
        el('dt', {}, t('block.by')), el('dd', {}, el('code', {}, doc.by), ' ', moment(doc.created_at)))]);
}

const OF = {users: KINDS.block_user, ips: KINDS.block_ip};

export function show(root, ctx) {
    const part = ctx.parts[0];
    if (!(part in OF)) {
        const places = Object.values(OF).map(() => el('section', {}));
        root.append(el('h1', {}, t('nav.blocklist')), el('p', {class: 'soft'}, t('block.about')), ...places);
        const ends = Object.values(OF).map((kind, i) => show_list(places[i], ctx, {kind, columns, is_part: true}));
        return () => ends.forEach(end => end());
    }
    const kind = OF[part];
    return show_kind(root, {...ctx, parts: ctx.parts.slice(1)}, {kind, columns, about: t('block.about')},
                     {panel, begin: () => ({ttl_s: 3600}), saved_name: (doc, name) => doc[kind.named_by] ?? name});
}
