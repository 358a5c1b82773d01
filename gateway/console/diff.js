// What is different between two JSON documents, and between three: the one that an operator began
// with, theirs, and the one that somebody else has stored meanwhile. The order of an object's members
// is no difference. Members are named by JSON pointers (RFC 6901).
import {el} from './dom.js';
import {t} from './words.js';

const TEXT_MAX = 2000; // characters of a value that are shown at once

// --- Pointers. ---

export function split(pointer) {
    return pointer.split('/').slice(1).map(part => part.replace(/~1/g, '/').replace(/~0/g, '~'));
}

export function join(parts) {
    return parts.map(part => '/' + String(part).replace(/~/g, '~0').replace(/\//g, '~1')).join('');
}

function has(value, key) {
    return Object.prototype.hasOwnProperty.call(value, key);
}

export function is_object(value) {
    return value !== null && typeof value === 'object' && !Array.isArray(value);
}

// undefined: there is no such member.
export function get(value, parts) {
    for (const part of parts) {
        if (value === null || typeof value !== 'object' || !has(value, part))
            return undefined;
        value = value[part];
    }
    return value;
}

// A member by any name, "__proto__" included.
function put(object, key, value) {
    Object.defineProperty(object, key,
                          {value, writable: true, enumerable: true, configurable: true});
}

// In place; makes the objects on the way. undefined removes the member.
export function set(value, parts, member) {
    for (const part of parts.slice(0, -1)) {
        if (!has(value, part) || value[part] === null || typeof value[part] !== 'object')
            put(value, part, {});
        value = value[part];
    }
    const last = parts[parts.length - 1];
    if (member === undefined)
        delete value[last];
    else
        put(value, last, member);
}

export function copy(value) {
    return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}

export function equal(a, b) {
    if (a === b)
        return true;
    if (Array.isArray(a))
        return Array.isArray(b) && a.length === b.length && a.every((one, i) => equal(one, b[i]));
    if (!is_object(a) || !is_object(b))
        return false;
    const keys = Object.keys(a);
    return keys.length === Object.keys(b).length && keys.every(key => has(b, key) && equal(a[key], b[key]));
}

// --- Two documents. ---

function keys_of_both(a, b) {
    return [...Object.keys(a), ...Object.keys(b).filter(key => !has(a, key))];
}

// What is equal at both ends is left out; the rest is compared one by one.
function array_differences(before, after, parts, found) {
    let from = 0, end = 0;
    const shorter = Math.min(before.length, after.length);

    while (from < shorter && equal(before[from], after[from]))
        from++;
    while (end < shorter - from && equal(before[before.length - 1 - end], after[after.length - 1 - end]))
        end++;
    const gone = before.length - end, come = after.length - end;
    for (let i = from; i < Math.max(gone, come); i++)
        collect(i < gone ? before[i] : undefined, i < come ? after[i] : undefined, [...parts, i], found);
}

function collect(before, after, parts, found) {
    if (equal(before, after))
        return;
    if (Array.isArray(before) && Array.isArray(after))
        array_differences(before, after, parts, found);
    else if (is_object(before) && is_object(after))
        for (const key of keys_of_both(before, after))
            collect(has(before, key) ? before[key] : undefined, has(after, key) ? after[key] : undefined,
                    [...parts, key], found);
    else
        found.push({path: join(parts), before, after});
}

// [{path, before, after}], undefined where there is nothing.
export function differences(before, after) {
    const found = [];
    collect(before, after, [], found);
    return found;
}

// The same from a JSON patch (RFC 6902) over the document that it is for; undefined: not known.
export function patch_differences(before, patch) {
    return patch.map(({op, path, value}) => ({
        path,
        before: op === 'add' || before === undefined ? undefined : get(before, split(path)),
        after: op === 'remove' ? undefined : value,
    }));
}

// --- Three documents. ---

function merge(base, mine, theirs, parts, rows) {
    if (equal(mine, theirs)) {
        if (!equal(base, mine))
            rows.push({path: join(parts), base, mine, theirs, from: 'both'});
        return mine;
    }
    if (equal(base, mine)) {
        rows.push({path: join(parts), base, mine, theirs, from: 'theirs'});
        return theirs;
    }
    if (is_object(mine) && is_object(theirs)) {
        const old = is_object(base) ? base : {};
        const merged = {};
        const member = (value, key) => has(value, key) ? value[key] : undefined;
        for (const key of keys_of_both(theirs, mine)) {
            const value = merge(member(old, key), member(mine, key), member(theirs, key), [...parts, key], rows);
            if (value !== undefined)
                put(merged, key, value);
        }
        return merged;
    }
    if (equal(base, theirs)) {
        rows.push({path: join(parts), base, mine, theirs, from: 'mine'});
        return mine;
    }
    rows.push({path: join(parts), base, mine, theirs, from: 'conflict'});
    return theirs;
}

// {merged, rows}: each row says who has changed a member. Where both did, differently, merged has
// theirs until `mine` is chosen. An array is one member.
export function three_way(base, mine, theirs) {
    const rows = [];
    const merged = merge(base, mine, theirs, [], rows);
    return {merged: copy(merged), rows};
}

// --- Showing. ---

export function value_text(value) {
    return typeof value === 'string' ? JSON.stringify(value) : JSON.stringify(value, null, 1);
}

// A value as JSON; of a long one the beginning, and all of it in a box that opens.
export function value_view(value) {
    if (value === undefined)
        return el('span', {class: 'nothing'}, t('diff.nothing'));
    const text = value_text(value);
    if (text.length <= TEXT_MAX)
        return el('code', {class: 'value'}, text);
    return el('div', {}, el('code', {class: 'value'}, text.slice(0, 200) + '…'),
              el('details', {}, el('summary', {}, t('diff.whole', {characters: text.length})),
                 el('pre', {class: 'value', tabindex: '0'}, text)));
}

function change_view({path, before, after}) {
    return el('li', {class: 'change'}, el('code', {class: 'path'}, path === '' ? t('diff.document') : path),
              el('del', {}, el('span', {class: 'sign'}, t('diff.before')), value_view(before)),
              el('ins', {}, el('span', {class: 'sign'}, t('diff.after')), value_view(after)));
}

export function difference_view(list) {
    if (list.length === 0)
        return el('p', {class: 'soft'}, t('diff.same'));
    return el('ul', {class: 'changes'}, ...list.map(change_view));
}

function side(word, value) {
    return el('div', {class: 'side'}, el('span', {class: 'sign'}, t(word)), value_view(value));
}

// choose(path, 'mine' or 'theirs') is called for a member that both have changed.
export function three_way_view(rows, choose) {
    return el('ul', {class: 'changes'}, ...rows.map((row, i) => {
        const choice = (value, word) => el('label', {class: 'choice'},
            el('input', {type: 'radio', name: `three-way-${i}`, value, onchange: () => choose(row.path, value)}), t(word));
        return el('li', {class: `change ${row.from}`},
                  el('code', {class: 'path'}, row.path === '' ? t('diff.document') : row.path),
                  el('span', {class: 'badge'}, t('diff.from_' + row.from)),
                  side('diff.base', row.base), side('diff.mine', row.mine), side('diff.theirs', row.theirs),
                  row.from === 'conflict' &&
                      el('fieldset', {class: 'choices'}, el('legend', {}, t('diff.take')),
                         choice('mine', 'diff.take_mine'), choice('theirs', 'diff.take_theirs')));
    }));
}
