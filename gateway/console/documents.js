// A list of documents: what matters of each in columns, looked at anew every few seconds.
import {show_document} from './document.js';
import {el, names, say_error} from './dom.js';
import {cells_table, keep_looking, put_again} from './looking.js';
import {list_page, page_path} from './kinds.js';
import {may} from './router.js';
import {t} from './words.js';

/* list: {kind, about, columns: [{key, title, cell(doc, name, ctx) -> node or text, numeric}], is_part}
 * The first column is the name, which leads to the document. is_part: the page has other lists, too. */
export function show_list(root, ctx, {kind, about, columns, is_part}) {
    const place = el('div', {class: 'card list'}), more = el('div', {class: 'commands'});
    const seek = el('input', {type: 'search', id: `seek-${kind.id}`, autocomplete: 'off', oninput: () => draw()});
    let pages = 1, rows = [], shown = '';

    const draw = () => {
        const wanted = rows.filter(row => row.name.includes(seek.value.trim()));
        const text = JSON.stringify([wanted, seek.value]);
        if (text === shown)
            return;
        shown = text;
        const cells = wanted.map(({name, doc}) => ({key: name, name: el('a', {href: `#/${page_path(kind, name)}`}, el('code', {}, name)),
            ...Object.fromEntries(columns.map(one => [one.key, one.cell(doc, name, ctx)]))}));
        put_again(place, wanted.length > 0
            ? cells_table([{key: 'name', title: t('list.name')}, ...columns.map(({key, title, numeric}) => ({key, title: t(title), numeric}))], cells)
            : el('p', {class: 'soft'}, t(rows.length > 0 ? 'list.none_found' : 'list.none')));
    };
    const look = async signal => {
        let all = [], after;
        for (let i = 0; i < pages; i++) {
            const page = await list_page(kind, {after, signal});
            all = all.concat(page.rows);
            after = page.next;
            if (!after)
                break;
        }
        if (signal.aborted)
            return;
        rows = all;
        more.replaceChildren(...(after ? [el('button', {type: 'button', onclick: () => {
            pages++;
            look(signal).catch(say_error);
        }}, t('list.more'))] : []));
        draw();
    };
    root.append(...[el(is_part ? 'h2' : 'h1', {}, t('kind.all_' + kind.word)), about && el('p', {class: 'soft'}, names(about)),
                    el('div', {class: 'commands'}, el('label', {for: seek.id}, t('list.seek')), seek,
                       may(ctx.role, 'operator') && !kind.fixed && el('a', {class: 'button primary', href: `#/${kind.page}?new=1`}, t('list.new'))),
                    place, more].filter(Boolean));
    return keep_looking(look);
}

/** The pages of a kind: its list, a new document, one document. */
export function show_kind(root, ctx, list, extras) {
    const {kind} = list, [name] = ctx.parts;
    if (ctx.query.new && may(ctx.role, 'operator') && !kind.fixed)
        return show_document(root, ctx, kind, null, extras);
    return name === undefined && !kind.single ? show_list(root, ctx, list) : show_document(root, ctx, kind, name ?? '', extras);
}
