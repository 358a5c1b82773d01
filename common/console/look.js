/* Language and look of the page: as the browser says, until the reader chooses. */
import {el} from './dom.js';
import {add_words, language, set_language, t} from './words.js';

add_words({
    'look.to_dark': {en: 'Dark', zh: '深色'},
    'look.to_light': {en: 'Light', zh: '浅色'},
});

const KEPT = 'penstock.look';
const prefers_dark = matchMedia('(prefers-color-scheme: dark)');
const listeners = new Set();
const root = document.documentElement;

function is_dark() {
    return (root.dataset.look ?? (prefers_dark.matches ? 'dark' : 'light')) === 'dark';
}

function tell() {
    listeners.forEach(fn => fn());
}

try {
    const kept = localStorage.getItem(KEPT);
    if (kept === 'dark' || kept === 'light')
        root.dataset.look = kept;
} catch { /* the browser keeps nothing */ }
prefers_dark.addEventListener('change', tell);

/** For what is drawn rather than styled: fn runs after each change. */
export function on_look(fn) {
    listeners.add(fn);
    return () => listeners.delete(fn);
}

/** A colour of style.css as it is now: colour('accent') is "rgb(…)". */
export function colour(name) {
    const probe = el('span', {hidden: true});
    probe.style.color = `var(--${name})`;
    root.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
}

export function look_switch() {
    const button = el('button', {type: 'button', class: 'quiet', onclick: () => {
        root.dataset.look = is_dark() ? 'light' : 'dark';
        try {
            localStorage.setItem(KEPT, root.dataset.look);
        } catch { /* for this visit only */ }
        say();
        tell();
    }});
    const say = () => button.textContent = is_dark() ? t('look.to_light') : t('look.to_dark');
    say();
    return button;
}

/** Its label is the other language's own name. */
export function language_switch() {
    const other = language() === 'zh' ? 'en' : 'zh';
    return el('button', {type: 'button', class: 'quiet', lang: other === 'zh' ? 'zh-CN' : 'en', onclick: () => set_language(other)},
        other === 'zh' ? '中文' : 'English');
}
