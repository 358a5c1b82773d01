/* The console of whoever has signed in: the frame (state of the stream, pages, switches), and in it the pages. */
import {authorization, sign_out} from './api.js';
import {desk_of} from './desk.js';
import {el} from './dom.js';
import {frame} from './frame.js';
import {language_switch, look_switch} from './look.js';
import {show_now} from './now.js';
import {load_words} from './pages.js';
import {groups, here, leave, offered, register, show} from './router.js';
import {open_stream} from './stream.js';
import {add_words, on_language, t} from './words.js';

add_words({
    'frame.sign_out': {en: 'Sign out', zh: '退出'},
});

export {load_words};

register({path: '', title: 'nav.now', group: '', role: 'viewer', show: (root, ctx) => show_now(root, ctx, desk_of(ctx))});

function pages_of(role) {
    const link = page => el('li', {}, el('a', {href: '#/' + page.path, 'aria-current': page.path === here().path ? 'page' : null}, t(page.title)));
    const list = group => {
        const pages = offered(role, group);
        return pages.length === 0 ? null : [group ? el('h2', {id: 'group-' + group}, t('group.' + group)) : null,
            el('ul', {'aria-labelledby': group ? 'group-' + group : null}, pages.map(link))];
    };
    return ['', ...groups].map(list);
}

/** Shows the console to whom GET /admin/v1/whoami has named; returns what ends it. */
export function begin(who) {
    const stream = open_stream({path: '/admin/v1/events', headers: authorization, on_refused: () => sign_out('revoked')});
    const base = {role: who.role, token_id: who.token, gateway: who.gateway, events: stream};
    const {main, draw, turn} = frame({stream, gateway: () => who.gateway, pages: () => pages_of(who.role), tools: () => [
        el('span', {class: 'soft'}, `${who.token} · ${t('role.' + who.role)}`), language_switch(), look_switch(),
        el('button', {type: 'button', class: 'quiet', onclick: () => sign_out()}, t('frame.sign_out'))]});

    draw();
    show(main, base);
    load_words().catch(() => {});
    addEventListener('hashchange', async () => {
        scrollTo(0, 0);
        turn();
        await show(main, base);
        main.focus();
    });
    on_language(async () => {
        await load_words().catch(() => {}); /* without them the gateway's words are shown in English */
        draw();
        show(main, base);
    });
    return leave;
}
