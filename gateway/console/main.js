/* The console: signs in, draws the frame (state of the stream, pages, switches), shows pages.
 *
 * Signing out, and a token that the gateway no longer takes, load the page anew: so nothing that was
 * read stays in its memory. */
import {authorization, on_sign_out, sign_in, sign_out} from './api.js';
import {clear_notices, el, number} from './dom.js';
import {fill, frame} from './frame.js';
import {language_switch, look_switch} from './look.js';
import {desk_of} from './desk.js';
import {show_now} from './now.js';
import './pages.js';
import {groups, here, leave, offered, register, show} from './router.js';
import {open_stream} from './stream.js';
import {add_words, on_language, t} from './words.js';

add_words({
    'role.registrar': {en: 'registrar', zh: '注册者'},
    'role.viewer': {en: 'viewer', zh: '查看者'},
    'role.operator': {en: 'operator', zh: '操作员'},
    'role.admin': {en: 'admin', zh: '管理员'},
    'main.sign_in': {en: 'Sign in', zh: '登录'},
    'main.sign_out': {en: 'Sign out', zh: '退出'},
    'main.token': {en: 'Token', zh: '令牌'},
    'main.token_note': {en: 'It stays in the memory of this page, until you close it or sign out.', zh: '令牌只保存在本页面的内存中，关闭页面或退出后即消失。'},
    'main.token_missing': {en: 'Enter a token.', zh: '请输入令牌。'},
    'main.wrong': {en: 'This gateway does not take the token: it is mistyped, was removed or has expired, or belongs to another gateway.', zh: '本网关不接受此令牌：可能输入有误、已被删除、已过期，或属于其他网关。'},
    'main.locked': {en: 'Too many attempts from this address. Try again in {s}.', zh: '此地址尝试次数过多，请在 {s} 后重试。'},
    'main.no_role': {en: 'A token of the role {role} may register servers, but not look at the console.', zh: '角色为 {role} 的令牌只能注册服务器，不能查看控制台。'},
    'main.not_reached': {en: 'The gateway does not answer.', zh: '网关没有响应。'},
    'main.failed': {en: 'The gateway could not answer: {why}', zh: '网关未能响应：{why}'},
    'main.revoked': {en: 'You are signed out: the gateway no longer takes the token. Nothing of it was kept.', zh: '已退出登录：网关不再接受此令牌。页面没有保留任何内容。'},
});

const body = document.body, SIGNED_OUT = 'revoked';

register({path: '', title: 'nav.now', group: '', role: 'viewer', show: (root, ctx) => show_now(root, ctx, desk_of(ctx))});

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
        return t('main.not_reached');
    return t('main.failed', {why: problem?.detail ?? problem?.title ?? error.status});
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
            begin(who);
        } catch (error) {
            button.disabled = false;
            fault.textContent = why_not(error);
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

/* --- The frame. --- */

function pages_of(role) {
    const link = page => el('li', {}, el('a', {href: '#/' + page.path, 'aria-current': page.path === here().path ? 'page' : null}, t(page.title)));
    const list = group => {
        const pages = offered(role, group);
        return pages.length === 0 ? null : [group ? el('h2', {id: 'group-' + group}, t('group.' + group)) : null,
            el('ul', {'aria-labelledby': group ? 'group-' + group : null}, pages.map(link))];
    };
    return ['', ...groups].map(list);
}

function begin(who) {
    const stream = open_stream({path: '/admin/v1/events', headers: authorization, on_refused: () => sign_out(SIGNED_OUT)});
    const base = {role: who.role, token_id: who.token, gateway: who.gateway, events: stream};
    const {main, draw, turn} = frame({stream, gateway: () => who.gateway, pages: () => pages_of(who.role), tools: () => [
        el('span', {class: 'soft'}, `${who.token} · ${t('role.' + who.role)}`), language_switch(), look_switch(),
        el('button', {type: 'button', class: 'quiet', onclick: () => sign_out()}, t('main.sign_out'))]});

    draw();
    show(main, base);
    addEventListener('hashchange', async () => {
        scrollTo(0, 0);
        turn();
        await show(main, base);
        main.focus();
    });
    on_language(() => {
        draw();
        show(main, base);
    });
}

/* --- The beginning. --- */

on_sign_out(why => {
    leave();
    clear_notices();
    body.replaceChildren();
    history.replaceState({signed_out: why ?? null}, '');
    location.reload();
});

const word = history.state?.signed_out;
history.replaceState(null, '');
ask_for_token(word === SIGNED_OUT ? t('main.revoked') : '');
on_language(() => body.querySelector('.sign-in') && ask_for_token());
