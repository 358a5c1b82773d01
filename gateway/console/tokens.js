// Tokens: who may do what. A new token's secret is shown once, and kept nowhere.
import {call} from './api.js';
import {ask} from './ask.js';
import {dialog, el, moment, notice, say_error} from './dom.js';
import {cells_table, put_again} from './looking.js';
import {t} from './words.js';

const ROLES = ['viewer', 'operator', 'admin', 'registrar'];

function secret_view({id, role, token}) {
    const text = el('input', {type: 'text', id: 'secret', readonly: true, value: token, class: 'secret', spellcheck: 'false'});
    const said = el('span', {role: 'status'});
    const copy = async () => {
        text.select();
        try {
            await navigator.clipboard.writeText(token);
            said.textContent = t('tokens.copied');
        } catch {
            said.textContent = t('tokens.copy_by_hand');
        }
    };
    return el('div', {}, el('p', {class: 'warning'}, t('tokens.once')), el('label', {for: 'secret'}, t('tokens.secret_of', {id, role})), text,
              el('div', {class: 'commands'}, el('button', {type: 'button', onclick: copy}, t('tokens.copy')), said));
}

async function create(again) {
    const answer = await ask({title: t('tokens.create'), text: t('tokens.create.text'), fields: [
        {name: 'role', label: t('tokens.role'), options: ROLES.map(value => ({value, label: `${value} – ${t('tokens.role_' + value)}`}))},
        {name: 'pools', label: t('tokens.pools'), hint: t('tokens.pools.hint')},
        {name: 'ttl_s', label: t('tokens.ttl'), hint: t('tokens.ttl.hint'), number: true},
        {name: 'note', label: t('tokens.note'), hint: t('tokens.note.hint'), max: 200}]});
    if (answer === null)
        return;
    const pools = answer.pools === undefined ? {} : {pools: answer.pools.split(/[\s,]+/).filter(Boolean)};
    try {
        const {body} = await call('POST', '/admin/v1/tokens', {body: {...answer, ...pools}});
        await dialog(t('tokens.created', {id: body.id}), secret_view(body), [{value: 'close', label: t('tokens.have_it'), kind: 'primary'}]);
        again();
    } catch (error) {
        say_error(error);
    }
}

async function remove(ctx, id, again) {
    const own = id === ctx.token_id;
    const answer = await ask({title: t('tokens.remove'), text: t(own ? 'tokens.remove_own' : 'tokens.remove.text', {id}), danger: true});
    if (answer === null)
        return;
    try {
        await call('DELETE', `/admin/v1/tokens/${encodeURIComponent(id)}`, {body: answer, ifMatch: '*'});
        notice('ok', t('tokens.removed', {id}));
        again();
    } catch (error) {
        say_error(error);
    }
}

function tokens_table(ctx, tokens, again) {
    return cells_table([{key: 'id', title: t('tokens.id')}, {key: 'role', title: t('tokens.role')}, {key: 'note', title: t('tokens.note')}, {key: 'made', title: t('tokens.made')},
                  {key: 'expires', title: t('tokens.expires')}, {key: 'remove', title: t('tokens.remove')}],
                 tokens.map(one => ({key: one.id, id: [el('code', {}, one.id), one.id === ctx.token_id && [' ', el('span', {class: 'badge'}, t('tokens.own'))]],
                     role: [el('code', {}, one.role), one.pools && [' ', one.pools.join(', ')]], note: one.note || '–', made: moment(one.created_at),
                     expires: one.expires_at ? moment(one.expires_at) : t('tokens.never'),
                     remove: el('button', {type: 'button', class: 'small danger', 'aria-label': `${t('tokens.remove')}: ${one.id}`, onclick: () => remove(ctx, one.id, again)}, t('tokens.remove'))})));
}

export async function show(root, ctx) {
    const place = el('div', {class: 'card list'});
    const look = async () => put_again(place, tokens_table(ctx, (await call('GET', '/admin/v1/tokens')).body.tokens, again));
    const again = () => look().catch(say_error);
    root.append(el('h1', {}, t('nav.tokens')), el('p', {class: 'soft'}, t('tokens.about')),
                el('div', {class: 'commands'}, el('button', {type: 'button', class: 'primary', onclick: () => create(again)}, t('tokens.create'))), place);
    await look();
}
