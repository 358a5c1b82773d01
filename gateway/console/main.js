/* The console's sign-in. Everything behind it (signed_in.js) is loaded while somebody enters the token, so that the page
 * is there at once.
 *
 * Signing out, and a token that the gateway no longer takes, load the page anew: so nothing that was
 * read stays in its memory. */
import {ApiError, on_sign_out, sign_in} from './api.js';
import {clear_notices, el, error_text, fill, number} from './dom.js';
import {language_switch, look_switch} from './look.js';
import {add_words, on_language, t} from './words.js';

add_words({
    'role.registrar': {en: 'registrar', zh: '注册者'},
    'role.viewer': {en: 'viewer', zh: '查看者'},
    'role.operator': {en: 'operator', zh: '操作员'},
    'role.admin': {en: 'admin', zh: '管理员'},
    'main.sign_in': {en: 'Sign in', zh: '登录'},
    'main.token': {en: 'Token', zh: '令牌'},
    'main.token_note': {en: 'It stays in the memory of this page, until you close it or sign out.', zh: '令牌只保存在本页面的内存中，关闭页面或退出后即消失。'},
    'main.token_missing': {en: 'Enter a token.', zh: '请输入令牌。'},
    'main.wrong': {en: 'This gateway does not take the token: it is mistyped, was removed or has expired, or belongs to another gateway.', zh: '本网关不接受此令牌：可能输入有误、已被删除、已过期，或属于其他网关。'},
    'main.locked': {en: 'Too many attempts from this address. Try again in {s}.', zh: '此地址尝试次数过多，请在 {s} 后重试。'},
    'main.no_role': {en: 'A token of the role {role} may register servers, but not look at the console.', zh: '角色为 {role} 的令牌只能注册服务器，不能查看控制台。'},
    'main.failed': {en: 'The gateway could not answer:', zh: '网关未能响应：'},
    'main.revoked': {en: 'You are signed out: the gateway no longer takes the token. Nothing of it was kept.', zh: '已退出登录：网关不再接受此令牌。页面没有保留任何内容。'},
});

const body = document.body, REVOKED = 'revoked'; /* what api.js says of a 401 */
let end = () => {};

function load() {
    return import('./signed_in.js').catch(() => {
        throw new ApiError(0, null);
    });
}

/* The gateway's own words, too, if they are not there yet: without them they are shown in English. */
function load_words() {
    return load().then(behind => behind.load_words()).catch(() => {});
}

/* --- Signing in. --- */

function why_not(error) {
    const problem = error.problem;
    if (error.status === 401)
        return t('main.wrong');
    if (error.status === 403)
        return t('main.no_role', {role: t('role.registrar')});
    if (error.status === 429)
        return t('main.locked', {s: number(problem?.retry_after_s ?? 60, 's')});
    if (error.status === 0)
        return error_text(error);
    return [t('main.failed'), ' ', problem ? error_text(error) : String(error.status)];
}

function ask_for_token(first_word) {
    const token = el('input', {type: 'password', name: 'password', id: 'token', autocomplete: 'current-password', required: true, autocapitalize: 'off', spellcheck: 'false'});
    const fault = el('p', {class: 'fault', role: 'alert', id: 'fault'}, first_word ?? '');
    const button = el('button', {type: 'submit', class: 'primary'}, t('main.sign_in'));
    const submit = async event => {
        event.preventDefault();
        const given = token.value.trim();
        if (given === '') {
            fault.textContent = t('main.token_missing');
            return;
        }
        button.disabled = true;
        try {
            const who = await sign_in(given);
            token.value = '';
            end = (await load()).begin(who);
        } catch (error) {
            if (error.problem)
                await load_words();
            button.disabled = false;
            fault.replaceChildren(...[why_not(error)].flat(Infinity));
            token.setAttribute('aria-invalid', 'true');
            token.setAttribute('aria-describedby', 'fault');
            token.select();
        }
    };
    document.title = 'Penstock';
    fill(el('main', {class: 'sign-in', id: 'main'},
        el('h1', {class: 'brand'}, el('img', {src: 'logo.svg', alt: ''}), 'Penstock'),
        el('form', {class: 'card', novalidate: true, onsubmit: submit},
            /* Password managers file the token under the gateway's address. */
            el('input', {type: 'text', name: 'username', autocomplete: 'username', value: location.host, hidden: true, readonly: true}),
            el('label', {class: 'field', for: 'token'}, el('span', {}, t('main.token')), token, el('span', {class: 'soft'}, t('main.token_note'))),
            fault, el('div', {class: 'actions'}, button)),
        el('div', {class: 'tools'}, language_switch(), look_switch())));
    token.focus();
}

/* --- The beginning. --- */

on_sign_out(why => {
    end();
    clear_notices();
    body.replaceChildren();
    history.replaceState({signed_out: why ?? null}, '');
    location.reload();
});

const word = history.state?.signed_out;
history.replaceState(null, '');
ask_for_token(word === REVOKED ? t('main.revoked') : '');
addEventListener('load', load_words); /* signing in tries again */
on_language(() => body.querySelector('.sign-in') && ask_for_token());
