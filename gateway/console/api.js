/* Calls of the admin API, by the token that signed in. The token lives in this file's memory alone.
 *
 *   call('PUT', '/admin/v1/limits/ip', {body, ifMatch: etag, query: {dry_run: 1}, signal})
 *     -> {status, etag, body}; body: what the JSON says, or text of another kind, null without one
 *   ApiError {status, problem}                any status of 400 and above; status 0: not reached
 *   on_sign_out(fn), sign_out(why)            a 401 signs out by itself
 */
export class ApiError extends Error {
    constructor(status, problem) {
        super(problem?.detail ?? problem?.title ?? `status ${status}`);
        this.name = 'ApiError';
        this.status = status;
        this.problem = problem;
    }
}

let token = null;
let leave = () => {};

export function on_sign_out(fn) {
    leave = fn;
}

export function sign_out(why) {
    token = null;
    leave(why);
}

/** The fields of a request that the token makes. */
export function authorization() {
    return {Authorization: 'Bearer ' + token};
}

async function read_body(response) {
    const text = await response.text();
    return /^application\/([\w.-]+\+)?json\b/.test(response.headers.get('Content-Type') ?? '') && text !== '' ? JSON.parse(text) : text === '' ? null : text;
}

export async function call(method, path, {body, ifMatch, query, signal} = {}) {
    const headers = authorization();
    if (body !== undefined)
        headers['Content-Type'] = 'application/json';
    if (ifMatch !== undefined)
        headers['If-Match'] = ifMatch;
    const asked = new URLSearchParams(query ?? {}).toString();
    let response, read;
    try {
        response = await fetch(path + (asked ? '?' + asked : ''), {
            method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body),
            cache: 'no-store', credentials: 'omit', redirect: 'error', referrerPolicy: 'no-referrer',
        });
        read = await read_body(response);
    } catch (error) {
        if (error.name === 'AbortError')
            throw error;
        throw new ApiError(0, null);
    }
    if (response.status === 401 && token !== null)
        sign_out('revoked');
    if (response.status >= 400)
        throw new ApiError(response.status, read !== null && typeof read === 'object' ? read : {title: String(read ?? response.status)});
    return {status: response.status, etag: response.headers.get('ETag'), body: read};
}

/** Who the token is. Throws what call() throws; then nobody is signed in. */
export async function sign_in(given) {
    token = null;
    const headers = {Authorization: 'Bearer ' + given};
    let response, read;
    try {
        response = await fetch('/admin/v1/whoami', {headers, cache: 'no-store', credentials: 'omit', redirect: 'error', referrerPolicy: 'no-referrer'});
        read = await read_body(response);
    } catch {
        throw new ApiError(0, null);
    }
    if (!response.ok)
        throw new ApiError(response.status, read);
    token = given;
    return read;
}
