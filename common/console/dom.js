/* Elements, tables, dialogs, notices. Text is always text: nothing here reads HTML.
 *
 *   el('p', {class: 'soft', onclick: fn, hidden: true}, 'text', node, [more], null)
 *   table([{title, cell: row => text or node, number: true}], rows, {caption, empty})
 *     a row with is_head is the head of those below it
 *   wide(label, node)                         what scrolls sideways on a narrow window, also by keyboard
 *   dialog(title, content, [{label, value, kind}]) -> Promise of the value chosen; null: closed
 *     kind: 'primary', 'danger' (takes something away) or none. `value` may be a function, run at the
 *     click: undefined leaves the dialog open (it says what is missing). Enter in a field is the last action
 *   notice('ok' | 'warn' | 'error', text)     at the foot of the page; 'ok' goes by itself
 *   confirm_change({what, difference, dry_run}) -> Promise of {reason}; null: not confirmed
 *     what: a sentence; difference: a node, or [{path, from, to}] (undefined: not there);
 *     dry_run: a node or text with what the gateway said about it, or nothing
 *   countdown(until, on_end)                  an element that counts down to a time
 *   fill(...nodes)                            puts these on the page before the notices, in place of what was there
 *   say_error(error)                          an ApiError, or anything thrown, as a notice
 *   said(text)                                what the gateway says in English, in the language of the page:
 *     as a row of add_said([['{} errors in a row', '连续 {} 次错误'], …]) has it; without one as code.
 *     The first row that fits counts. What stands in its holes goes to the same holes of the other text, in their order:
 *     {} by said(); {number} digits; {unit} by its word; {words} somebody's own words, as they are
 *   names(text)                               a text of ours, the names of the API in it as code
 * And all of format.js: number, percent, duration, moment, now. */
import {duration, moment, now} from './format.js';
import {add_words, has_word, language, t} from './words.js';

export * from './format.js';

add_words({
    'dom.cancel': {en: 'Cancel', zh: '取消'},
    'dom.close': {en: 'Close', zh: '关闭'},
    'dom.change': {en: 'Make the change', zh: '执行更改'},
    'dom.reason': {en: 'Reason, for the audit log', zh: '原因（记入审计日志）'},
    'dom.reason_missing': {en: 'Give a reason: others will read it when they ask why.', zh: '请填写原因，其他人日后会据此了解缘由。'},
    'dom.nothing': {en: 'Nothing here.', zh: '暂无内容。'},
    'dom.absent': {en: 'not set', zh: '未设置'},
    'dom.no_difference': {en: 'This changes nothing.', zh: '没有任何变化。'},
    'dom.member': {en: 'member', zh: '字段'},
    'dom.before': {en: 'before', zh: '之前'},
    'dom.after': {en: 'after', zh: '之后'},
    'dom.ended': {en: 'ended', zh: '已结束'},
    'dom.not_reached': {en: 'The gateway does not answer.', zh: '网关没有响应。'},
});

export function el(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (value === null || value === undefined || value === false)
            continue;
        if (typeof value === 'function')
            made.addEventListener(name.slice(2), value);
        else if (name === 'value' || name === 'checked' || name === 'selected')
            made[name] = value;
        else
            made.setAttribute(name, value === true ? '' : value);
    }
    made.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
    return made;
}

export function wide(label, node) {
    return el('div', {class: 'wide', tabindex: '0', role: 'region', 'aria-label': label}, node);
}

export function table(columns, rows, {caption, empty} = {}) {
    if (rows.length === 0)
        return el('p', {class: 'soft'}, empty ?? t('dom.nothing'));
    const cell = (column, row, i) => el(i === 0 ? 'th' : 'td', {scope: i === 0 ? 'row' : null, class: column.number ? 'number' : null}, column.cell(row) ?? '–');
    return wide(caption ?? columns.map(column => column.title).join(', '), el('table', {},
        caption ? el('caption', {}, caption) : null,
        el('thead', {}, el('tr', {}, columns.map(column => el('th', {scope: 'col', class: column.number ? 'number' : null}, column.title)))),
        el('tbody', {}, rows.map(row => el('tr', {class: row.is_head ? 'head' : null}, columns.map((column, i) => cell(column, row, i)))))));
}

let dialogs = 0;

export function dialog(title, content, actions = [{label: t('dom.close'), value: null}]) {
    return new Promise(resolve => {
        const id = 'dialog-' + ++dialogs, back = document.activeElement;
        let chosen = null;
        const button = action => el('button', {type: 'button', class: action.kind ?? null, onclick: () => {
            const value = typeof action.value === 'function' ? action.value() : action.value;
            if (value === undefined)
                return;
            chosen = value;
            box.close();
        }}, action.label);
        const box = el('dialog', {'aria-labelledby': id}, el('h2', {id}, title), el('div', {class: 'content'}, content), el('div', {class: 'actions'}, actions.map(button)));
        /* Without preventDefault the same key would press what has the focus once the dialog is gone. */
        box.addEventListener('keydown', event => {
            if (event.key !== 'Enter' || event.isComposing || event.defaultPrevented || !event.target.matches('input:not([type=checkbox])'))
                return;
            event.preventDefault();
            if (actions.length > 1 && !event.repeat)
                box.querySelector(':scope > .actions button:last-child').click();
        });
        box.addEventListener('close', () => {
            box.remove();
            back?.focus?.();
            resolve(chosen);
        });
        document.body.append(box);
        box.showModal();
    });
}

/* Two regions that exist from the start, so that screen readers notice what is put into them. */
const notices = el('div', {class: 'notices'}), polite = el('div', {role: 'status'}), urgent = el('div', {role: 'alert'});
notices.append(polite, urgent);
document.body.append(notices);

export function notice(kind, text) {
    const box = el('div', {class: 'notice ' + kind}, el('span', {}, text), el('button', {type: 'button', class: 'quiet', onclick: () => box.remove()}, t('dom.close')));
    (kind === 'error' ? urgent : polite).append(box);
    if (kind === 'ok')
        setTimeout(() => box.remove(), 6000);
}

export function fill(...nodes) {
    document.body.querySelectorAll(':scope > :not(.notices, dialog)').forEach(old => old.remove());
    document.body.prepend(...nodes);
}

export function clear_notices() {
    polite.replaceChildren();
    urgent.replaceChildren();
}

const HOLE = /\{(|number|unit|words)\}/;
const HOLES = {
    '': ['(.+?)', text => said(text)],
    number: ['(\\d+)', text => text],
    unit: ['(\\w+)', text => has_word('unit.of_' + text) ? t('unit.of_' + text) : text],
    words: ['(.+)', text => text],
};

/* Rows by their text, or with a pattern where something differs in it. */
const exact = new Map(), patterns = [];

export function add_said(rows) {
    for (const [text, translated] of rows)
        if (HOLE.test(text))
            patterns.push({of: new RegExp('^' + text.split(HOLE).map((part, i) => i % 2 === 1 ? HOLES[part][0] : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('') + '$', 's'), parts: translated.split(HOLE)});
        else
            exact.set(text, translated);
}

/* In a Chinese text, what is written in Latin letters is a name; those of things that everybody knows stay. */
const NAMES = /([[{].*[\]}]|"[^"]*"|[A-Za-z_][\w.:=/{}-]*(?: [a-z]\S*)*)/;
const KNOWN = /^(Penstock|SKU|JSON|CSV|HTTP|Redis|Kafka|CPU|PSI|SHA-256|CDN|IPv6|Host|KiB|p\d+|.{1,2})$/;

export function names(text) {
    return language() === 'en' ? text : text.split(NAMES).map((part, i) => i % 2 === 1 && !KNOWN.test(part) ? el('code', {}, part) : part);
}

function translated(text) {
    if (exact.has(text))
        return names(exact.get(text));
    const [, pointer, rest] = /^(\/\S*): (.*)$/s.exec(text) ?? [];
    if (pointer)
        return [el('code', {}, pointer), '：', said(rest)];
    for (const {of, parts} of patterns) {
        const found = of.exec(text);
        if (found)
            return parts.map((part, i) => i % 2 === 1 ? HOLES[part][1](found[(i + 1) / 2]) : names(part));
    }
    return null;
}

export function said(text) {
    if (language() === 'en' || !/[A-Za-z]{2}/.test(text ?? ''))
        return text;
    return translated(text) ?? el('code', {lang: 'en'}, text);
}

export function error_text(error) {
    const {title, detail} = error?.problem ?? {};
    if (error?.status === 0)
        return t('dom.not_reached');
    if (language() === 'en' || !detail)
        return said(detail ?? title ?? String(error?.message ?? error));
    return translated(detail) ?? [said(title), '：', said(detail)];
}

export function say_error(error) {
    if (error?.name !== 'AbortError' && error?.status !== 401) /* the page goes back to the sign-in */
        notice('error', error_text(error));
}

function as_text(value) {
    return value === undefined ? el('i', {class: 'soft'}, t('dom.absent')) : el('code', {}, typeof value === 'string' ? value : JSON.stringify(value));
}

export function difference_table(difference) {
    return table([
        {title: t('dom.member'), cell: row => el('code', {}, row.path)},
        {title: t('dom.before'), cell: row => el('del', {}, as_text(row.from))},
        {title: t('dom.after'), cell: row => el('ins', {}, as_text(row.to))},
    ], difference, {empty: t('dom.no_difference')});
}

export async function confirm_change({what, difference, dry_run, kind = 'primary', label}) {
    const reason = el('input', {type: 'text', name: 'reason', required: true, maxlength: '200', autocomplete: 'off', autofocus: true});
    const fault = el('p', {class: 'fault', role: 'alert'});
    const take = () => {
        if (reason.value.trim() !== '')
            return {reason: reason.value.trim()};
        fault.textContent = t('dom.reason_missing');
        reason.setAttribute('aria-invalid', 'true');
        reason.focus();
        return undefined;
    };
    const content = [
        difference instanceof Node ? difference : difference ? difference_table(difference) : null,
        dry_run ? el('div', {class: 'dry-run'}, dry_run) : null,
        el('label', {class: 'field'}, el('span', {}, t('dom.reason')), reason), fault,
    ];
    return dialog(what, content, [{label: t('dom.cancel'), value: null}, {label: label ?? t('dom.change'), value: take, kind}]);
}

/* One clock for all countdowns; those that left the page are forgotten. */
const counting = new Set();
let ticking = null;

function tick() {
    for (const one of counting)
        if (!one.show() || (one.shown && !one.box.isConnected))
            counting.delete(one);
        else
            one.shown ||= one.box.isConnected;
    if (counting.size === 0) {
        clearInterval(ticking);
        ticking = null;
    }
}

export function countdown(until, on_end) {
    const end = new Date(until).getTime(), box = el('time', {class: 'countdown', datetime: new Date(end).toISOString(), title: moment(end)});
    const one = {box, shown: false, show() {
        const left = end - now();
        box.textContent = left > 0 ? duration(left) : t('dom.ended');
        if (left <= 0)
            on_end?.();
        return left > 0;
    }};
    if (one.show()) {
        counting.add(one);
        ticking ??= setInterval(tick, 250);
    }
    return box;
}
