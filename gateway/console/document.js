// One document: its live state, its members as a form or as JSON, its save and its deletion. A change is
// tried first (`dry_run`), shown with its difference, and sent with the version that it is based on. If
// somebody else has changed the document meanwhile, both changes are shown and nothing is overwritten.
import {ApiError, call} from './api.js';
import {copy, differences, difference_view, equal, set, split, three_way, three_way_view} from './diff.js';
import {confirm_change, el, notice, number, said, say_error} from './dom.js';
import {consequences} from './dry_run.js';
import {make_form, no_json, outgoing} from './form.js';
import {show_history} from './history.js';
import {api_path, BODY_MAX, bytes_of, has_unsafe_number, offers, page_path, read, schema_of, with_measured} from './kinds.js';
import {keep_looking, put_again} from './looking.js';
import {may} from './router.js';
import {language, t} from './words.js';

const UNKNOWN = [0, 502, 504]; // statuses after which a change may be in force or not

// What was typed and not saved, by document: it outlives a look at another page. Signing out loads the
// console anew, so nothing of it stays.
const unsaved = new Map();

/** Members that the form does not show: the page shows them, or the dialog of a change asks for them. */
function hidden(kind, schema) {
    const names = Object.entries(schema.properties).filter(([name, one]) => one.writeOnly && (name === 'reason' || name === kind.named_by));
    return new Set([...names.map(([name]) => name), ...(kind.keeps_reason ? ['reason'] : []), ...(kind.named_by ? [kind.named_by] : [])]);
}

// --- The page. ---

/* name: null for a new one. extras: {panel(place, doc, page), which draws what happens now and the kind's own actions;
 * begin() -> a document to begin with; saved_name(doc, name) -> the name that the gateway gave it}. */
export async function show_document(root, ctx, kind, name, extras = {}) {
    const making = name === null;
    const schema = await schema_of(kind, language());
    const found = making ? {doc: extras.begin ? extras.begin() : {}, etag: undefined} : await read(kind, name);
    if (ctx.query.view === 'history') {
        root.append(back_link(kind, found === null ? undefined : name));
        return show_history(root, ctx, kind, name, found);
    }
    if (found === null) {
        root.append(back_link(kind), el('h1', {}, el('code', {}, name)), el('p', {}, t('doc.none')),
                    el('p', {}, el('a', {href: `#/${page_path(kind, name, 'history')}`}, t('doc.history'))));
        return undefined;
    }
    const page = {root, ctx, kind, name, making, schema, extras, base: found.doc, etag: found.etag, raw: null,
                  editable: may(ctx.role, 'operator') && !has_unsafe_number(found.doc), stopped: new AbortController()};
    page.put_panel = (place, key, nodes) => put_panel(page, place, key, nodes);
    page.refresh = () => refresh(page).catch(say_error);
    page.say_trouble = error => page.stopped.signal.aborted || error.status === 0 || say_error(error);
    draw(page, restored(page));
    return () => leave(page);
}

/** Draws what is live anew if `key` has changed since it was drawn. */
function put_panel(page, place, key, nodes) {
    const text = JSON.stringify(key);
    if (text === page.panel_key || page.stopped.signal.aborted)
        return;
    page.panel_key = text;
    put_again(place, el('div', {}, nodes()));
}

/** After an action: the document as it is now. */
async function refresh(page) {
    const found = await read(page.kind, page.name, page.stopped.signal);
    page.panel_key = undefined;
    if (found !== null)
        say_live(page, found.doc);
    if (found === null || found.etag !== page.etag)
        seen_change(page, found);
}

function draft_key({kind, name, making}) {
    return `${kind.id} ${making ? '' : name}`;
}

function restored(page) {
    const kept = unsaved.get(draft_key(page));
    unsaved.delete(draft_key(page));
    if (!kept)
        return null;
    page.base = kept.base;
    page.etag = kept.etag;
    return kept;
}

function leave(page) {
    page.stopped.abort();
    page.stop_looking?.();
    window.removeEventListener('beforeunload', page.hold);
    if (page.editable && is_touched(page))
        unsaved.set(draft_key(page), {base: page.base, etag: page.etag, draft: page.form.value(), unreadable: page.form.unreadable(),
                                      raw: page.raw?.value, name: page.name_input?.value});
}

function back_link(kind, name) {
    const path = name === undefined ? kind.page : page_path(kind, name);
    return el('p', {class: 'back'}, el('a', {href: `#/${path}`}, name === undefined ? `← ${t('kind.all_' + kind.word)}` : el('code', {}, `← ${name}`)));
}

function draw(page, kept) {
    const {root, kind, name, making, schema, editable, ctx} = page;

    page.form = make_form(schema, kept ? kept.draft : page.base, {editable, skip: hidden(kind, schema), shows_measured: !kind.panel_shows, names: offers(),
                                                                  unreadable: kept?.unreadable, changed: () => say_state(page)});
    page.heading = el('h1', {tabindex: '-1'}, t('kind.' + kind.word), !kind.single && ' ', !kind.single && (making ? t('doc.new') : el('code', {}, name)));
    page.version = el('p', {class: 'soft version'});
    page.panel = el('div', {class: page.making || !page.extras.panel ? '' : 'card panel'});
    page.says = el('div', {class: 'says', 'aria-live': 'polite'});
    page.meanwhile = el('div', {});
    page.place = el('div', {class: 'card editor'}, page.form.node);
    page.state = el('p', {class: 'state', 'aria-live': 'polite'});
    root.append(...[!kind.single && back_link(kind), page.heading, page.version, page.panel, page.says, page.meanwhile,
                    making && name_field(page), el('h2', {}, t('doc.members')), !editable && may(ctx.role, 'operator') &&
                        el('p', {class: 'warning'}, t('doc.unsafe_number')),
                    mode_switch(page), page.place, editable && buttons(page)].filter(Boolean));
    page.hold = event => is_touched(page) && event.preventDefault();
    window.addEventListener('beforeunload', page.hold);
    if (kept)
        restore(page, kept);
    say_version(page);
    say_state(page);
    if (!making) {
        say_live(page, page.base);
        page.stop_looking = keep_looking(signal => look(page, signal));
    }
}

function restore(page, {raw, name}) {
    if (name !== undefined)
        page.name_input.value = name;
    if (raw !== undefined) {
        switch_mode(page, true);
        page.raw.value = raw;
        take_raw(page);
    }
    notice('ok', t('doc.restored'));
}

function name_field(page) {
    page.name_input = el('input', {id: 'document-name', type: 'text', autocomplete: 'off', spellcheck: 'false', required: true,
                                   'aria-describedby': 'document-name-hint'});
    return el('div', {class: 'field'}, el('label', {for: 'document-name'}, t('doc.name')), page.name_input,
              el('p', {class: 'hint', id: 'document-name-hint'}, t('kind.name_' + page.kind.word)));
}

function mode_switch(page) {
    const by = (word, raw) => el('button', {type: 'button', class: 'small', 'aria-pressed': String(raw === (page.raw !== null)),
                                            onclick: () => switch_mode(page, raw)}, t(word));
    page.modes = el('div', {class: 'modes', role: 'group', 'aria-label': t('doc.shown_as')}, by('doc.as_form', false), by('doc.as_json', true));
    return page.modes;
}

function switch_mode(page, raw) {
    if (raw === (page.raw !== null))
        return;
    if (raw) {
        if (!page.form.is_readable())
            return notice('error', t('doc.unreadable'));
        const text = JSON.stringify(body_of(page), null, 2);
        page.raw = el('textarea', {class: 'json raw', spellcheck: 'false', rows: '24', 'aria-label': t('doc.raw_label'), 'aria-describedby': 'raw-fault',
                                   readonly: !page.editable, oninput: () => take_raw(page)}, text);
        page.raw_fault = el('p', {class: 'fault', id: 'raw-fault', 'aria-live': 'polite'});
        page.place.replaceChildren(page.raw, page.raw_fault);
    } else {
        if (page.raw_fault.textContent !== '')
            return page.raw.focus();
        page.raw = null;
        page.form.set_value(page.form.value());
        page.place.replaceChildren(page.form.node);
    }
    page.modes.replaceWith(mode_switch(page));
    page.modes.querySelector('[aria-pressed=true]').focus();
    say_state(page);
}

function take_raw(page) {
    try {
        const value = JSON.parse(page.raw.value);
        if (value === null || typeof value !== 'object' || Array.isArray(value))
            throw new Error(t('doc.no_object'));
        if (has_unsafe_number(value))
            throw new Error(t('doc.unsafe_number'));
        page.form.put(with_measured(page.schema, value, page.base));
        page.raw_fault.textContent = '';
    } catch (error) {
        page.raw_fault.textContent = error instanceof SyntaxError ? no_json(error) : error.message;
    }
    say_state(page);
}

function buttons(page) {
    page.save = el('button', {type: 'button', class: 'primary', onclick: () => busy(page, () => save(page))}, t(page.making ? 'doc.create' : 'doc.save'));
    const undo = el('button', {type: 'button', onclick: () => undo_changes(page)}, t('doc.undo'));
    return el('div', {class: 'commands editor-actions'}, page.state, page.save, undo,
              !page.making && el('a', {class: 'button', href: `#/${page_path(page.kind, page.name, 'history')}`}, t('doc.history')),
              !page.making && !page.kind.fixed &&
                  el('button', {type: 'button', class: 'danger', onclick: () => busy(page, () => remove(page))}, t('doc.delete')));
}

async function busy(page, work) {
    if (page.is_busy)
        return;
    page.is_busy = true;
    page.root.setAttribute('aria-busy', 'true');
    try {
        await work();
    } finally {
        page.is_busy = false;
        page.root.removeAttribute('aria-busy');
    }
}

// --- What is said about it. ---

function say_version(page) {
    page.version.replaceChildren(...(page.etag ? [t('doc.version', {version: page.etag.replaceAll('"', '')})] : []));
}

function body_of(page) {
    return outgoing(page.schema, page.form.value());
}

function is_changed(page) {
    return !equal(body_of(page), outgoing(page.schema, page.base));
}

/** Is all that was typed JSON? */
function is_readable(page) {
    return page.form.is_readable() && !(page.raw && page.raw_fault.textContent !== '');
}

/** Would something that was typed be lost? */
function is_touched(page) {
    return is_changed(page) || !is_readable(page);
}

function say_state(page) {
    if (!page.editable || !page.state)
        return;
    const bytes = bytes_of(body_of(page));
    const changes = differences(outgoing(page.schema, page.base), body_of(page)).length;
    page.state.className = bytes > BODY_MAX ? 'state fault' : 'state';
    page.state.textContent = [changes === 0 ? t('doc.unchanged') : t('doc.changed', {count: changes}),
                              t(bytes > BODY_MAX ? 'doc.too_large' : 'doc.size', {bytes: number(bytes), max: number(BODY_MAX)})].join(' ');
}

function say_live(page, doc) {
    if (page.extras.panel)
        page.extras.panel(page.panel, doc, page);
}

// Every few seconds: what is live, and whether somebody else has changed the document.
async function look(page, signal) {
    if (page.is_busy)
        return;
    const found = await read(page.kind, page.name, signal);
    if (signal.aborted || page.is_busy)
        return;
    if (found !== null)
        say_live(page, found.doc);
    if (found === null || found.etag !== page.etag)
        seen_change(page, found);
}

function seen_change(page, found) {
    if (found !== null && page.editable && !is_touched(page))
        return take_over(page, found);
    if (page.meanwhile.childElementCount === 0)
        page.meanwhile.replaceChildren(el('p', {class: 'card not-normal', role: 'status'}, t(found === null ? 'doc.deleted_meanwhile' : 'doc.changed_meanwhile'), ' ',
            found !== null && el('button', {type: 'button', class: 'small', onclick: () => busy(page, () => show_meanwhile(page))}, t('doc.show_difference'))));
    return undefined;
}

// The newest version becomes the one that is edited.
function take_over(page, found, draft = found.doc) {
    page.base = found.doc;
    page.etag = found.etag;
    page.meanwhile.replaceChildren();
    put(page, draft);
    say_version(page);
    say_live(page, found.doc);
}

function undo_changes(page) {
    page.says.replaceChildren();
    put(page, page.base);
}

// In the place of all that was typed.
function put(page, value) {
    page.form.set_value(value);
    if (page.raw) {
        page.raw.value = JSON.stringify(body_of(page), null, 2);
        page.raw_fault.textContent = '';
    }
    say_state(page);
}

// --- Saving. ---

function target_of(page) {
    if (!page.making)
        return page.name;
    const name = page.name_input.value.trim();
    if (name === '') {
        notice('error', t('doc.needs_name'));
        page.name_input.focus();
    }
    return name;
}

async function save(page) {
    const name = target_of(page), body = body_of(page), path = api_path(page.kind, name);
    page.says.replaceChildren();
    if (!page.kind.single && name === '')
        return;
    if (!is_readable(page))
        return notice('error', t('doc.unreadable'));
    if (bytes_of(body) > BODY_MAX)
        return notice('error', t('doc.too_large', {bytes: number(bytes_of(body)), max: number(BODY_MAX)}));
    try {
        page.form.show_faults([]);
        const dry = (await call('PUT', path, {body, ifMatch: page.etag, query: {dry_run: 1}})).body;
        if (dry.changes.length === 0)
            return notice('ok', t('doc.no_change'));
        const before = page.making ? undefined : outgoing(page.schema, page.base);
        const change = dry.changes.find(one => one.result !== null) || dry.changes[0];
        const answer = await confirm_change({what: t(page.making ? 'doc.confirm_create' : 'doc.confirm_change', {name: change.document}),
                                             difference: difference_view(differences(before, body)),
                                             dry_run: consequences(dry)});
        if (answer === null)
            return;
        await send(page, name, change.document, {...body, reason: answer.reason});
    } catch (error) {
        await refused(page, error);
    }
}

async function send(page, name, document, body) {
    const {status, etag, body: doc} = await call('PUT', api_path(page.kind, name), {body, ifMatch: page.etag});
    unsaved.delete(draft_key(page));
    notice('ok', t(status === 201 ? 'doc.created' : 'doc.saved', {name: document, version: etag.replaceAll('"', '')}));
    if (!page.making)
        return take_over(page, {doc, etag});
    page.base = doc;
    put(page, doc);
    page.ctx.go(page_path(page.kind, page.extras.saved_name ? page.extras.saved_name(doc, name) : name));
    return undefined;
}

async function refused(page, error) {
    if (!(error instanceof ApiError))
        throw error;
    if (UNKNOWN.includes(error.status))
        return say_refusal(page, t('doc.unknown_outcome'), []);
    if (error.status === 412 || error.status === 428)
        return show_meanwhile(page);
    const faults = error.problem && error.problem.errors || [];
    const others = page.raw ? faults : page.form.show_faults(faults);
    say_refusal(page, [t('doc.refused'), ' ', said(error.problem?.title ?? String(error.status))],
                others.length > 0 ? others : faults.length === 0 ? [{pointer: '', detail: error.message}] : []);
    return undefined;
}

function say_refusal(page, text, faults) {
    page.says.replaceChildren(el('div', {class: 'card not-normal refusal', role: 'alert'}, el('p', {}, text), faults.length > 0 &&
        el('ul', {}, ...faults.map(one => el('li', {}, one.pointer && el('code', {}, one.pointer), one.pointer && ': ', said(one.detail))))));
}

// --- A change by somebody else. ---

async function show_meanwhile(page) {
    const name = target_of(page);
    let found;
    try {
        found = await read(page.kind, name);
    } catch (error) {
        return say_error(error);
    }
    if (found === null) {
        page.meanwhile.replaceChildren(el('p', {class: 'card not-normal', role: 'alert'}, t('doc.deleted_meanwhile')));
        return undefined;
    }
    const clean = doc => outgoing(page.schema, doc);
    const mine = copy(body_of(page)), {merged, rows} = three_way(page.making ? {} : clean(page.base), mine, clean(found.doc));
    const open = new Set(rows.filter(row => row.from === 'conflict').map(row => row.path));
    const go_on = el('button', {type: 'button', class: 'primary', disabled: open.size > 0, onclick: () => {
        if (!is_readable(page))
            return notice('error', t('doc.unreadable'));
        if (!equal(mine, body_of(page))) // typed since this was shown
            return busy(page, () => show_meanwhile(page));
        if (page.making) {
            page.making = false;
            page.name = name;
            page.name_input.disabled = true;
        }
        take_over(page, found, with_measured(page.schema, merged, found.doc));
        notice('ok', t('doc.merged'));
        page.save.focus();
        return undefined;
    }}, t('doc.go_on'));
    const choose = (path, side) => {
        const row = rows.find(one => one.path === path);
        set(merged, split(path), copy(side === 'mine' ? row.mine : row.theirs));
        open.delete(path);
        go_on.disabled = open.size > 0;
    };
    const heading = el('h2', {tabindex: '-1'}, t('doc.meanwhile'));
    page.meanwhile.replaceChildren(el('section', {class: 'card meanwhile', 'aria-label': t('doc.meanwhile')}, heading,
        el('p', {}, t('doc.meanwhile_text', {version: found.etag.replaceAll('"', '')})), await who_changed(page, name),
        three_way_view(rows, choose), el('div', {class: 'commands'}, go_on,
            el('button', {type: 'button', onclick: () => take_over(page, found)}, t('doc.drop_mine')))));
    heading.focus();
    return undefined;
}

async function who_changed(page, name) {
    try {
        const {versions} = (await call('GET', `${api_path(page.kind, name)}/versions`)).body;
        return el('p', {}, t('doc.by', {who: versions[0].who, why: versions[0].why || '–'}));
    } catch (error) {
        return null;
    }
}

// --- Deleting. ---

async function remove(page) {
    const path = api_path(page.kind, page.name);
    page.says.replaceChildren();
    try {
        const dry = (await call('DELETE', path, {ifMatch: page.etag, query: {dry_run: 1}})).body;
        const answer = await confirm_change({what: t('doc.confirm_delete', {name: page.name}),
                                             difference: difference_view([{path: '', before: outgoing(page.schema, page.base), after: undefined}]),
                                             dry_run: consequences(dry)});
        if (answer === null)
            return;
        await call('DELETE', path, {body: {reason: answer.reason}, ifMatch: page.etag});
        unsaved.delete(draft_key(page));
        notice('ok', t('doc.gone', {name: page.name}));
        put(page, page.base);
        page.ctx.go(page.kind.page);
    } catch (error) {
        await refused(page, error);
    }
}
