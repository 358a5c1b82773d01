/* What people read, in English and in Chinese.
 *
 *   add_words({'limits.title': {en: 'Limits', zh: '限流规则'}})   a page's table: one key a line
 *   t('limits.title')                                            the text in the language of the page
 *   t('limits.of', {name: 'ip'})                                 {name} in the text is replaced
 *   language(), set_language('en' | 'zh'), on_language(fn)       fn runs after a change
 *   has_word(key)                                                is there a text for it?
 *
 * A key begins with the name of its page. Lint finds keys without a text in a language, keys that no
 * table has, and keys that nobody uses. A key that is put together, t('role.' + role), is found by
 * its beginning. */
const words = {};
const listeners = new Set();
const KEPT = 'penstock.language'; /* the choice, nothing else, is kept by the browser */

function kept(value) {
    try { /* a browser may refuse to keep anything */
        if (value !== undefined)
            localStorage.setItem(KEPT, value);
        return localStorage.getItem(KEPT);
    } catch {
        return null;
    }
}

const of_browser = navigator.languages.map(tag => tag.slice(0, 2).toLowerCase()).find(tag => tag === 'en' || tag === 'zh');
let chosen = ['en', 'zh'].includes(kept()) ? kept() : of_browser ?? 'en';
document.documentElement.lang = tag();

export function add_words(table) {
    Object.assign(words, table);
}

export function language() {
    return chosen;
}

/** As browsers name it: for lang="…" and Intl. */
export function tag() {
    return chosen === 'zh' ? 'zh-CN' : 'en-GB';
}

export function set_language(wanted) {
    chosen = wanted;
    kept(wanted);
    document.documentElement.lang = tag();
    listeners.forEach(fn => fn(wanted));
}

export function on_language(fn) {
    listeners.add(fn);
    return () => listeners.delete(fn);
}

export function has_word(key) {
    return key in words;
}

export function t(key, values = {}) {
    const text = words[key]?.[chosen] ?? key;
    return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}
