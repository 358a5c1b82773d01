// The kinds of documents that the console shows: where they are, how they are listed, and what a page
// adds to them. Names of documents are theirs; so are members: both stand as the API has them.
import {ApiError, call} from './api.js';
import {copy, get, is_object} from './diff.js';

export const BODY_MAX = 1048576; // bytes that the gateway takes

/* id: of its schema. page: the address of its list, #/page; a document's is #/page/NAME.
 * listed: the member of a list that has the documents, by name, or with `named_by` an array.
 * fixed: there are neither more nor fewer of them. single: there is one, without a name.
 * panel_shows: the panel above the form has what the gateway sets, so the form leaves it out. */
export const KINDS = {
    sale: {id: 'sale', page: 'sales', api: '/admin/v1/sales', listed: 'sales', named_by: 'sale', word: 'sale'},
    limit: {id: 'limit', page: 'limits', api: '/admin/v1/limits', listed: 'limits', word: 'limit'},
    block_user: {id: 'block_user', page: 'blocklist/users', api: '/admin/v1/blocklist/users', listed: 'users',
                 named_by: 'user', word: 'block_user', keeps_reason: true, panel_shows: true},
    block_ip: {id: 'block_ip', page: 'blocklist/ips', api: '/admin/v1/blocklist/ips', listed: 'ips',
               named_by: 'range', word: 'block_ip', keeps_reason: true, panel_shows: true},
    route: {id: 'route', page: 'routes', api: '/admin/v1/routes', listed: 'routes', word: 'route', panel_shows: true},
    pool: {id: 'pool', page: 'pools', api: '/admin/v1/pools', listed: 'pools', word: 'pool', panel_shows: true},
    cache: {id: 'cache', page: 'caches', api: '/admin/v1/caches', listed: 'caches', word: 'cache', panel_shows: true},
    feature: {id: 'feature', page: 'features', api: '/admin/v1/features', listed: 'features', word: 'feature',
              fixed: true, panel_shows: true},
    overload: {id: 'overload', page: 'overload', api: '/admin/v1/overload', word: 'overload', fixed: true, single: true, panel_shows: true},
    plan: {id: 'plan', page: 'plans', api: '/admin/v1/plans', listed: 'plans', word: 'plan'},
};

/** Where a document is in the API. */
export function api_path(kind, name) {
    return kind.single ? kind.api : `${kind.api}/${encodeURIComponent(name)}`;
}

/** Where its page is, behind #/. */
export function page_path(kind, name, view) {
    const path = kind.single ? kind.page : `${kind.page}/${encodeURIComponent(name)}`;
    return view ? `${path}?view=${view}` : path;
}

/** The kind and the name of what a dry run or the audit log calls, such as limits/ip; null: no document. */
export function named(document) {
    const kind = Object.values(KINDS).find(one => one.api === `/admin/v1/${document.split('/').slice(0, -1).join('/')}`);
    if (kind)
        return {kind, name: document.split('/').pop()};
    const range = /^blocklist\/ips\/(.*)$/.exec(document);
    return range ? {kind: KINDS.block_ip, name: range[1]} : /^overload\b/.test(document) ? {kind: KINDS.overload, name: ''} : null;
}

/** One page of a list: {rows: [{name, doc}], next}. */
export async function list_page(kind, {after, signal} = {}) {
    const {body} = await call('GET', kind.api, {query: after ? {after} : {}, signal});
    const listed = body[kind.listed];
    const rows = Array.isArray(listed) ? listed.map(doc => ({name: doc[kind.named_by], doc}))
        : Object.entries(listed).map(([name, doc]) => ({name, doc}));
    return {rows, next: body.next};
}

/** The names of a kind's documents, of the first page: what a form offers. */
export async function names_of(kind) {
    return (await list_page(kind)).rows.map(row => row.name);
}

/** A function of a member's name, for make_form: the names that exist for it, asked for once; or null. */
export function offers() {
    const kinds = {pool: KINDS.pool, sale: KINDS.sale, twin_of: KINDS.sale, route: KINDS.route, store: KINDS.cache};
    const asked = new Map();
    return member => {
        const kind = kinds[member];
        if (!kind)
            return null;
        if (!asked.has(kind))
            asked.set(kind, names_of(kind));
        return asked.get(kind);
    };
}

const schemas = new Map();

/** The schema of a kind, its texts in a language; kept while the page is open. */
export async function schema_of(kind, language) {
    const key = `${kind.id} ${language}`;
    if (!schemas.has(key))
        schemas.set(key, (await call('GET', `/admin/v1/schema/${kind.id}`, {query: {language}})).body);
    return schemas.get(key);
}

/** A document and its version; null: there is none. */
export async function read(kind, name, signal) {
    try {
        const {body, etag} = await call('GET', api_path(kind, name), {signal, query: kind.single ? {history_s: 0} : undefined});
        return {doc: body, etag};
    } catch (error) {
        if (error instanceof ApiError && error.status === 404)
            return null;
        throw error;
    }
}

/** Has it a whole number that a browser cannot keep exactly? Then only another program can save it whole. */
export function has_unsafe_number(value) {
    if (typeof value === 'number')
        return Number.isInteger(value) && !Number.isSafeInteger(value);
    return value !== null && typeof value === 'object' && Object.values(value).some(has_unsafe_number);
}

/** Members that only the gateway sets, put back into a document that lacks them. */
export function with_measured(schema, value, from) {
    const whole = copy(value);
    if (is_object(whole))
        for (const [name, one] of Object.entries(schema.properties || {}))
            if (one.readOnly && !(name in whole) && get(from, [name]) !== undefined)
                whole[name] = copy(from[name]);
    return whole;
}

export function bytes_of(value) {
    return new TextEncoder().encode(JSON.stringify(value)).length;
}
