// Routes: which pool serves a path, how it is split, and splits that were taken back.
import {call} from './api.js';
import {ask} from './ask.js';
import {value_view} from './diff.js';
import {show_kind} from './documents.js';
import {el, notice, percent, say_error} from './dom.js';
import {api_path, KINDS, page_path} from './kinds.js';
import {override_panel} from './override_parts.js';
import {may} from './router.js';
import {t} from './words.js';

const kind = KINDS.route;

function pool_link(name) {
    return el('a', {href: `#/${page_path(KINDS.pool, name)}`}, el('code', {}, name));
}

function serves(doc) {
    if (doc.redirect)
        return [t('routes.redirect'), ' ', el('code', {}, doc.redirect.location)];
    if (doc.answer)
        return t('routes.answer', {status: doc.answer.status});
    return [doc.pool && pool_link(doc.pool), (doc.split || []).map(one => [' · ', pool_link(one.pool), ' ', percent(one.share)])];
}

const columns = [
    {key: 'path', title: 'routes.path', cell: doc => el('code', {}, `${doc.host || ''}${doc.path}${doc.match === 'exact' ? '' : '*'}`)},
    {key: 'class', title: 'routes.class', cell: doc => el('code', {}, doc.class)},
    {key: 'serves', title: 'routes.serves', cell: serves},
    {key: 'cache', title: 'routes.cache', cell: doc => doc.cache ? el('code', {}, doc.cache.store) : '–'},
    {key: 'fallback', title: 'routes.fallback', cell: doc => (doc.fallback || []).length > 0 ? doc.fallback.map(one => [el('code', {}, one.kind), ' ']) : '–'},
    {key: 'returned', title: 'routes.returned', cell: doc => (doc.returned || []).length > 0 ? el('span', {class: 'badge on'}, t('routes.returned_count', {count: doc.returned.length})) : '–'},
];

async function resume(page) {
    const answer = await ask({title: t('routes.resume'), text: t('routes.resume.text')});
    if (answer === null)
        return;
    try {
        await call('POST', `${api_path(kind, page.name)}/resume`, {body: {reason: answer.reason}});
        notice('ok', t('routes.resumed', {name: page.name}));
        page.refresh();
    } catch (error) {
        say_error(error);
    }
}

function panel(place, doc, page) {
    override_panel(page, `fallback:${page.name}`, `split:${page.name}:`).then(overrides =>
        page.put_panel(place, [overrides.key, doc.returned, doc.figures], () => [
            (doc.returned || []).length > 0 && el('section', {class: 'warning'}, el('h2', {}, t('routes.returned')), value_view(doc.returned),
                may(page.ctx.role, 'operator') && el('button', {type: 'button', id: 'route-resume', onclick: () => resume(page)}, t('routes.resume'))),
            overrides.node(),
            doc.figures && el('details', {}, el('summary', {}, t('routes.figures')), value_view(doc.figures))]))
        .catch(page.say_trouble);
}

export function show(root, ctx) {
    return show_kind(root, ctx, {kind, columns, about: t('routes.about')}, {panel, begin: () => ({path: '/', pool: ''})});
}
