// The audit log: who changed what, before and after. Each line holds the SHA-256 of the line before it;
// the page computes these hashes again from the bytes that the gateway sent.
import {call} from './api.js';
import {differences, difference_view} from './diff.js';
import {el, moment, names, notice, number, say_error} from './dom.js';
import {cells_table, put_again} from './looking.js';
import {named, page_path} from './kinds.js';
import {t} from './words.js';

const PAGE = 200, BEGINNING = '0'.repeat(64);

async function sha256(text) {
    const bytes = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
    return [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join('');
}

/** Puts into each line whether its `prev` is the hash of the line before: true, false, or null: not known here. */
async function check_chain(lines) {
    for (const [i, line] of lines.entries()) {
        const before = lines[i - 1];
        if (line.one.prev === undefined || !crypto.subtle)
            line.holds = null;
        else if (before === undefined || before.one.seq !== line.one.seq - 1)
            line.holds = line.one.prev === BEGINNING ? true : null;
        else
            line.holds = line.one.prev === await sha256(before.text);
    }
}

function lines_of(text) {
    return String(text ?? '').split('\n').filter(Boolean).map(line => ({text: line, one: JSON.parse(line)}));
}

function chain_view(lines) {
    const broken = lines.filter(line => line.holds === false), unknown = lines.filter(line => line.holds === null).length;
    if (!crypto.subtle)
        return el('p', {class: 'warning'}, t('audit.no_hash'));
    if (broken.length > 0)
        return el('p', {class: 'fault', role: 'alert'}, t('audit.broken', {seq: broken.map(line => line.one.seq).join(', ')}));
    return el('p', {class: 'soft'}, names(t(unknown > 0 ? 'audit.holds_in_part' : 'audit.holds', {count: number(lines.length), unknown: number(unknown)})));
}

function target_view(target) {
    const found = named(target);
    return found ? el('a', {href: `#/${page_path(found.kind, found.name)}`}, el('code', {}, target)) : el('code', {}, target);
}

function changes_view({from, to}) {
    const list = differences(from ?? undefined, to ?? undefined);
    const place = el('div', {});
    const details = el('details', {ontoggle: () => details.open && place.childElementCount === 0 && place.append(difference_view(list))},
                       el('summary', {}, t('audit.changes', {count: list.length})), place);
    return list.length === 0 ? '–' : details;
}

function audit_table(lines) {
    return cells_table(['seq', 'at', 'who', 'action', 'target', 'changes', 'why'].map(key => ({key, title: t('audit.' + key), numeric: key === 'seq'})),
                 lines.map(({one, holds}) => ({
                     key: one.seq, seq: holds === false ? el('span', {class: 'badge on'}, String(one.seq)) : String(one.seq), at: moment(one.at),
                     who: [el('code', {}, one.who), one.peer && [' ', el('span', {class: 'soft'}, one.peer)]], action: el('code', {}, one.action),
                     target: target_view(one.target), changes: changes_view(one), why: one.why || '–'})));
}

const FILTERS = ['who', 'action', 'target', 'why'];

export async function show(root, ctx) {
    const place = el('div', {class: 'card list'}), chain = el('div', {'aria-live': 'polite'}), older = el('button', {type: 'button'}, t('audit.older'));
    const inputs = Object.fromEntries(FILTERS.map(name => [name, el('input', {id: `audit-${name}`, type: 'search', autocomplete: 'off', value: ctx.query[name] ?? '', oninput: () => draw()})]));
    let lines = [];
    const draw = () => {
        const wanted = lines.filter(({one}) => FILTERS.every(name => String(one[name] ?? '').toLowerCase().includes(inputs[name].value.trim().toLowerCase())));
        put_again(place, el('div', {}, el('p', {class: 'soft'}, t('audit.shown', {shown: number(wanted.length), of: number(lines.length)})), audit_table([...wanted].reverse())));
    };
    const take = async text => {
        const more = lines_of(text);
        const known = new Set(lines.map(line => line.one.seq));
        lines = [...lines, ...more.filter(line => !known.has(line.one.seq))].sort((a, b) => a.one.seq - b.one.seq);
        await check_chain(lines);
        chain.replaceChildren(chain_view(lines));
        older.hidden = lines.length === 0 || lines[0].one.seq <= 1;
        draw();
    };
    older.onclick = async () => {
        const first = lines[0].one.seq;
        try {
            const {body} = await call('GET', '/admin/v1/audit-log', {query: {after: Math.max(0, first - 1 - PAGE), limit: Math.min(PAGE, first - 1)}});
            if (lines_of(body).length === 0) {
                older.hidden = true;
                notice('ok', t('audit.no_older'));
            } else {
                await take(body);
            }
        } catch (error) {
            say_error(error);
        }
    };
    root.append(el('h1', {}, t('nav.audit')), el('p', {class: 'soft'}, t('audit.about')), chain,
                el('div', {class: 'row'}, FILTERS.map(name => el('div', {class: 'field'}, el('label', {for: `audit-${name}`}, t('audit.' + name)), inputs[name]))),
                place, el('div', {class: 'commands'}, older));
    await take((await call('GET', '/admin/v1/audit-log', {query: {limit: PAGE}})).body);
}
