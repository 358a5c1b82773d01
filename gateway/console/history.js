// The last versions of a document: who made them, when, from where and why, what each has changed, and
// the way back. A rollback is a new version with old content; it is tried first.
import {call} from './api.js';
import {differences, difference_view} from './diff.js';
import {confirm_change, el, moment, notice, say_error} from './dom.js';
import {consequences} from './dry_run.js';
import {outgoing} from './form.js';
import {api_path, page_path, read, schema_of} from './kinds.js';
import {cells_table} from './looking.js';
import {may} from './router.js';
import {language, t} from './words.js';

async function version_doc(kind, name, version) {
    return (await call('GET', `${api_path(kind, name)}/versions/${version}`)).body.document;
}

/** What a version has changed: the difference to the one before it that is known. */
async function show_changes(place, kind, name, version, earlier) {
    const [after, before] = await Promise.all([version_doc(kind, name, version),
                                               earlier === undefined ? undefined : version_doc(kind, name, earlier)]);
    const none = doc => doc === null ? undefined : doc;
    place.replaceChildren(...[earlier === undefined && el('p', {class: 'soft'}, t('history.first')),
                              difference_view(differences(none(before), none(after)))].filter(Boolean));
}

async function roll_back(ctx, kind, name, version) {
    const path = api_path(kind, name);
    try {
        const found = await read(kind, name), schema = await schema_of(kind, language());
        const body = {version};
        const ifMatch = found === null ? undefined : found.etag;
        const dry = (await call('POST', `${path}/rollback`, {body, ifMatch, query: {dry_run: 1}})).body;
        if (dry.changes.length === 0)
            return notice('ok', t('history.same'));
        const before = found === null ? undefined : outgoing(schema, found.doc);
        const answer = await confirm_change({
            what: t('history.confirm', {name: dry.changes[0].document, version}),
            difference: difference_view(differences(before, outgoing(schema, dry.changes[0].result))),
            dry_run: consequences(dry)});
        if (answer === null)
            return;
        const done = await call('POST', `${path}/rollback`, {body: {...body, reason: answer.reason}, ifMatch});
        notice('ok', t('history.done', {version, now: done.etag.replaceAll('"', '')}));
        ctx.go(page_path(kind, name));
    } catch (error) {
        say_error(error);
    }
}

export async function show_history(root, ctx, kind, name, found) {
    const {versions} = (await call('GET', `${api_path(kind, name)}/versions`)).body;
    const now = found && Number(found.etag.replaceAll('"', ''));
    const rows = versions.map((one, i) => {
        const place = el('div', {class: 'version-changes'});
        const earlier = versions[i + 1];
        const details = el('details', {ontoggle: () => {
            if (details.open && place.childElementCount === 0)
                show_changes(place, kind, name, one.version, earlier && earlier.version).catch(say_error);
        }}, el('summary', {'aria-label': `${t('history.changes')}: ${one.version}`}, t('history.changes')), place);
        const mark = one.version === now ? 'history.now' : one.deleted ? 'history.deleted' : null;
        return {key: one.version, version: [String(one.version), mark && [' ', el('span', {class: 'badge'}, t(mark))]],
                at: moment(one.at), who: el('code', {}, one.who), action: el('code', {}, one.action), why: one.why || '–', changes: details,
                back: !one.deleted && one.version !== now && may(ctx.role, 'operator') &&
                    el('button', {type: 'button', class: 'small', 'aria-label': `${t('history.back')}: ${one.version}`,
                                  onclick: () => roll_back(ctx, kind, name, one.version)}, t('history.back'))};
    });
    root.append(el('h1', {}, t('history.of'), ' ', el('code', {}, name || t('kind.' + kind.word))), el('p', {class: 'soft'}, t('history.text')),
                el('div', {class: 'card list'}, cells_table(['version', 'at', 'who', 'action', 'why', 'changes', ...(may(ctx.role, 'operator') ? ['back'] : [])]
                    .map(key => ({key, title: t('history.column_' + key)})), rows)));
}
