/* The console's pages, by what stands behind the # of its address: #/limits/ip?of=1.
 *
 *   register({path: 'limits', title: 'nav.limits', group: 'documents', role: 'viewer', show(root, ctx) {…}})
 *     path: the first part of the address; '' is the page that opens first
 *     title: a key of words.js; group: one of `groups`; null: in no list (reached by links)
 *     role: whoever may less is not offered the page
 *     show puts the page into `root`, an empty <main>, and may return a function that ends it: stops
 *     what it started. It may be async.
 *   ctx: {role, token_id, gateway, parts, query, go(path), events: {subscribe(fn) -> unsubscribe, last}}
 *     parts: ['ip']; query: {of: '1'}; go('limits/ip') leads there, unless the page has ended
 *     events: once a second what GET /admin/v1/events says; last: the newest, or null
 *   may(ctx.role, 'operator')                 may this role what that role may?
 *   has_page('sales')                         has somebody registered it?
 *
 * A page is shown anew when the address or the language changes. */
import {el, say_error} from './dom.js';
import {add_words, t} from './words.js';

add_words({
    'group.documents': {en: 'Documents', zh: '文档'},
    'group.desk': {en: 'Desk', zh: '操作台'},
    'group.system': {en: 'Gateway', zh: '网关'},
    'router.no_page': {en: 'There is no such page.', zh: '没有这个页面。'},
    'router.not_yours': {en: 'The role {role} may not open this page.', zh: '角色 {role} 无权打开此页面。'},
    'router.to_first': {en: 'To the first page', zh: '返回首页'},
});

/** In this order, after the pages of no group. */
export const groups = ['documents', 'desk', 'system'];
const roles = ['registrar', 'viewer', 'operator', 'admin'];
const pages = new Map();
let end = null, visit = 0;

export function register(page) {
    pages.set(page.path, page);
}

export function may(role, needed) {
    return roles.indexOf(role) >= roles.indexOf(needed);
}

export function has_page(path) {
    return pages.has(path);
}

/** The pages that a role is offered, of a group; '' for those before all groups. */
export function offered(role, group) {
    return [...pages.values()].filter(page => page.group === group && may(role, page.role));
}

export function here() {
    const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
    const parts = path.split('/').map(part => {
        try {
            return decodeURIComponent(part);
        } catch {
            return part;
        }
    });
    return {path: parts[0], parts: parts.slice(1).filter(part => part !== ''), query: Object.fromEntries(new URLSearchParams(query ?? ''))};
}

export function go(path) {
    location.hash = '#/' + path;
}

export function leave() {
    visit++;
    const leaving = end;
    end = null;
    leaving?.();
}

/** Shows the page of the address in `root`. `base`: ctx without parts and query. */
export async function show(root, base) {
    leave();
    const mine = visit, {path, parts, query} = here(), page = pages.get(path);
    const fresh = el('div', {class: 'page'});
    root.replaceChildren(fresh);
    if (page === undefined || !may(base.role, page.role)) {
        fresh.append(el('h1', {}, page === undefined ? t('router.no_page') : t('router.not_yours', {role: t('role.' + base.role)})),
            el('p', {}, el('a', {href: '#/'}, t('router.to_first'))));
        return;
    }
    document.title = t(page.title) + ' · ' + base.gateway + ' · Penstock';
    try {
        const ended = await page.show(fresh, {...base, parts, query, go: to => mine === visit && go(to)});
        if (mine === visit)
            end = ended ?? null;
        else
            ended?.();
    } catch (error) {
        if (mine === visit)
            say_error(error);
    }
}
