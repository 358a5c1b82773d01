/* The frame around a page: whether its figures are of now, the list of pages, the switches.
 *
 *   frame({stream, gateway, tools, pages, stale}) -> {main, draw()}
 *   stream: of stream.js; gateway: () => its name; tools, pages: () => nodes, pages may be missing
 *   stale: what else to say while nothing comes, or nothing
 *   main: the element for the page; draw() puts the frame on the page, anew after a change of language */
import {el, fill, moment, number, said, set_clock} from './dom.js';
import {add_words, t} from './words.js';

add_words({
    'frame.skip': {en: 'To the content', zh: '跳到正文'},
    'frame.menu': {en: 'Menu', zh: '菜单'},
    'frame.pages': {en: 'Pages', zh: '页面'},
    'frame.live': {en: 'Live', zh: '实时'},
    'frame.waiting': {en: 'Waiting for figures', zh: '等待数据'},
    'frame.stale': {en: 'Out of date', zh: '数据已过期'},
    'frame.stale_bar': {en: 'Out of date: what you see is of {at}. {gateway} sends nothing; trying again.', zh: '数据已过期：以下内容停留在 {at}。{gateway} 没有发送数据，正在重试。'},
    'frame.silent_for': {en: 'Silent for {s}.', zh: '已静默 {s}。'},
    'frame.stale_never': {en: '{gateway} has sent no figures yet; trying again.', zh: '{gateway} 尚未发送数据，正在重试。'},
    'frame.the_gateway': {en: 'The gateway', zh: '网关'},
});

const PATIENCE_MS = 3000; /* a stream that has just begun is not late */

export function frame({stream, gateway, tools, pages, stale = () => ''}) {
    const began = performance.now(), main = el('main', {id: 'main', tabindex: '-1'});
    const pulse = el('p', {class: 'pulse'}), bar = el('p', {class: 'stale-bar', role: 'alert', hidden: true}, el('span', {}), el('span', {'aria-hidden': 'true'})); /* the seconds are not read out */
    let state = {live: false, since: null, why: null}, draw_pages = () => {}, shown = '';

    const say = () => {
        const known = state.since !== null, at = stream.last?.at, name = gateway() || t('frame.the_gateway');
        pulse.className = 'pulse ' + (state.live ? 'live' : known ? 'stale' : '');
        pulse.replaceChildren(el('span', {}, t(state.live ? 'frame.live' : known ? 'frame.stale' : 'frame.waiting')),
            el('span', {class: 'soft'}, (at ? moment(at) + ' · ' : '') + name));
        bar.hidden = state.live || (!known && state.why === null && performance.now() - began < PATIENCE_MS);
        const text = known ? t('frame.stale_bar', {at: moment(at), gateway: name}) : t('frame.stale_never', {gateway: name});
        const whole = bar.hidden ? [] : [text, state.why, stale()].filter(Boolean), key = whole.join(' ');
        if (shown !== key) {
            shown = key;
            bar.firstChild.replaceChildren(el('span', {}, whole.map(one => [one === state.why ? said(one) : one, ' '])));
        }
        bar.lastChild.textContent = known && !bar.hidden ? ' ' + t('frame.silent_for', {s: number(Math.round((Date.now() - state.since) / 1000), 's')}) : '';
        main.classList.toggle('is-stale', !state.live && known);
    };
    stream.watch(now => {
        state = now;
        say();
    });
    stream.subscribe(data => {
        set_clock(new Date(data.at).getTime());
        say();
    });

    return {main, draw() {
        const nav = pages ? el('nav', {class: 'nav', id: 'nav', 'aria-label': t('frame.pages')}) : null;
        const menu = pages ? el('button', {type: 'button', class: 'menu', 'aria-expanded': 'false', 'aria-controls': 'nav', onclick: () => open(!whole.classList.contains('menu-open'))}, t('frame.menu')) : null;
        const open = is_open => {
            whole.classList.toggle('menu-open', is_open);
            menu?.setAttribute('aria-expanded', String(is_open));
        };
        const skip = el('a', {class: 'skip', href: '#main', onclick: event => {
            event.preventDefault(); /* what stands behind # is the page */
            main.focus();
        }}, t('frame.skip'));
        const whole = el('div', {class: pages ? 'frame' : 'frame alone'}, skip,
            el('header', {class: 'top'}, menu, el('a', {class: 'brand', href: '#/'}, el('img', {src: 'logo.svg', alt: ''}), el('span', {}, 'Penstock')), pulse,
                el('div', {class: 'tools'}, tools())),
            bar, nav ?? '', main);
        draw_pages = () => {
            open(false);
            nav?.replaceChildren(...[pages(), el('div', {class: 'tools'}, tools())].flat(Infinity).filter(Boolean));
        };
        fill(whole);
        draw_pages();
        say();
    }, turn: () => draw_pages()};
}
