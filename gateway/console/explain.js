// Why was this refused? A ref of an answer, or a request that is described, gate by gate.
import {call} from './api.js';
import {el, moment, names, number, percent, said, say_error} from './dom.js';
import {t} from './words.js';

function field(id, label, more = {}, hint) {
    return el('div', {class: 'field'}, el('label', {for: id}, names(label)), el('input', {id, type: 'text', autocomplete: 'off', spellcheck: 'false', 'aria-describedby': hint ? `${id}-hint` : null, ...more}),
              hint && el('p', {class: 'hint', id: `${id}-hint`}, hint));
}

function facts(rows) {
    return el('dl', {class: 'facts'}, rows.filter(Boolean).map(([word, value]) => [el('dt', {}, t(word)), el('dd', {}, value ?? '–')]));
}

const RULE_PAGES = {limit: 'limits', feature: 'features', route: 'routes'};

function rule_view({kind, name, deleted, changed}) {
    const text = name === null ? t('explain.unknown_rule') : el('code', {}, `${kind}:${name}`);
    return [name !== null && !deleted ? el('a', {href: `#/${RULE_PAGES[kind]}/${encodeURIComponent(name)}`}, text) : text,
            deleted && [' ', t('explain.deleted')], changed && !deleted && [' ', t('explain.changed')]];
}

function refusal_view(found) {
    return el('div', {}, el('p', {class: 'verdict'}, el('span', {class: 'badge on'}, el('code', {}, found.verdict ?? '?'), found.status !== null && ` ${found.status}`), ' ', said(found.why)),
              found.remedy && el('p', {}, said(found.remedy)),
              facts([['explain.at', moment(found.at)], ['explain.rule', found.rule ? rule_view(found.rule) : t('explain.no_rule')], ['explain.gateway', found.gateway && el('code', {}, found.gateway)],
                     ['explain.level', number(found.level)], ['explain.admission', percent(found.admission)], ['explain.revision', number(found.revision)],
                     ['explain.user_hash', found.user_hash && el('code', {}, found.user_hash)],
                     'is_user' in found && ['explain.is_user', t(found.is_user ? 'explain.yes' : 'explain.no')]]));
}

function gate_item(gate) {
    const passes = gate.verdict === 'pass', waits = gate.verdict === 'wait';
    return el('li', {class: passes || waits ? 'gate' : 'gate refuses'}, el('span', {class: `badge ${passes || waits ? '' : 'on'}`}, el('code', {}, gate.verdict)), ' ',
              el('strong', {}, el('code', {}, gate.gate)), gate.rule && [' · ', t('explain.rule'), ' ', el('code', {}, gate.rule)],
              gate.left !== null && [' · ', t('explain.left', {left: number(gate.left)})], gate.why && el('p', {}, said(gate.why)));
}

function page_view(page) {
    const list = page.fallbacks.map(one => [el('code', {}, one.pool ? `${one.kind}:${one.pool}` : one.kind), one.answers && [' ', t('explain.answers')], ' ']);
    return facts([['explain.route', el('code', {}, page.route)], ['explain.class', el('code', {}, page.class)], ['explain.pool', page.pool && el('code', {}, page.pool)],
                  ['explain.endpoint', page.endpoint && el('code', {}, page.endpoint)], ['explain.cache', page.cache && el('code', {}, page.cache)],
                  ['explain.cache_key', page.cache_key && el('code', {}, page.cache_key)], ['explain.mirror', page.mirror && el('code', {}, page.mirror)],
                  ['explain.fallbacks', list.length > 0 ? list : '–']]);
}

const GOOD = ['accepted', 'replayed', 'ok', 'page'];

function explanation_view(found) {
    const differ = Object.keys(found.workers).length > 1;
    return el('div', {}, el('p', {class: 'verdict'}, el('span', {class: `badge ${GOOD.includes(found.verdict) ? '' : 'on'}`}, el('code', {}, found.verdict), found.status !== null && ` ${found.status}`), ' ',
                            t(GOOD.includes(found.verdict) ? 'explain.passes' : 'explain.refused')),
              differ && el('p', {class: 'warning'}, t('explain.workers'), ' ', Object.entries(found.workers).map(([verdict, count]) => [el('code', {}, verdict), ` × ${count} `])),
              el('h3', {}, t('explain.gates')), el('ol', {class: 'gates'}, found.gates.map(gate_item)), found.page && [el('h3', {}, t('explain.page')), page_view(found.page)]);
}

// --- The questions. ---

function values_of(form, names) {
    return Object.fromEntries(names.map(name => [name, form.querySelector(`[name=${name}]`).value.trim()]).filter(([, value]) => value !== ''));
}

function headers_of(text) {
    const lines = text.split('\n').map(line => line.trim()).filter(Boolean);
    return Object.fromEntries(lines.map(line => [line.split(':')[0].trim(), line.slice(line.indexOf(':') + 1).trim()]));
}

function question(title, text, fields, ask) {
    const place = el('div', {class: 'answer', 'aria-live': 'polite'});
    const form = el('form', {class: 'card', 'aria-label': title, onsubmit: async event => {
        event.preventDefault();
        try {
            place.replaceChildren(await ask(form));
        } catch (error) {
            place.replaceChildren();
            say_error(error);
        }
    }}, el('h2', {}, names(title)), el('p', {class: 'soft'}, names(text)), el('div', {class: 'row'}, fields), el('div', {class: 'commands'}, el('button', {type: 'submit', class: 'primary'}, t('explain.ask'))), place);
    return form;
}

async function ask_ref(form) {
    const {ref, user} = values_of(form, ['ref', 'user']);
    return refusal_view((await call('GET', `/admin/v1/explain/${encodeURIComponent(ref ?? '')}`, {query: user ? {user} : undefined})).body);
}

async function ask_order(form) {
    const body = values_of(form, ['user', 'ip', 'sale', 'sku', 'quantity', 'at']);
    if (Number.isFinite(Number(body.quantity)))
        body.quantity = Number(body.quantity);
    return explanation_view((await call('POST', '/admin/v1/explain', {body})).body);
}

async function ask_page(form) {
    const body = values_of(form, ['user', 'ip', 'method', 'path', 'at']), headers = headers_of(form.querySelector('textarea').value);
    return explanation_view((await call('POST', '/admin/v1/explain', {body: Object.keys(headers).length > 0 ? {...body, headers} : body})).body);
}

export function show(root, ctx) {
    const at = id => field(id, t('explain.when'), {name: 'at', placeholder: '2030-11-11T12:00:00Z'}, t('explain.when.hint'));
    root.append(el('h1', {}, t('nav.explain')), el('p', {class: 'soft'}, t('explain.about')), el('div', {class: 'questions'},
        question(t('explain.by_ref'), t('explain.by_ref.text'), [field('explain-ref', t('explain.ref'), {name: 'ref', value: ctx.query.ref ?? '', required: true}),
            field('explain-ref-user', t('explain.user'), {name: 'user'}, t('explain.user.hint'))], ask_ref),
        question(t('explain.by_order'), t('explain.by_order.text'), [field('explain-user', t('explain.user'), {name: 'user', required: true}), field('explain-ip', t('explain.ip'), {name: 'ip', required: true, placeholder: '203.0.113.7'}),
            field('explain-sale', t('kind.sale'), {name: 'sale', required: true}), field('explain-sku', 'SKU', {name: 'sku', required: true}),
            field('explain-quantity', t('explain.quantity'), {name: 'quantity', inputmode: 'numeric', value: '1'}), at('explain-at')], ask_order),
        question(t('explain.by_page'), t('explain.by_page.text'), [field('explain-page-ip', t('explain.ip'), {name: 'ip', required: true, placeholder: '203.0.113.7'}), field('explain-page-user', t('explain.user'), {name: 'user'}),
            field('explain-method', t('explain.method'), {name: 'method', placeholder: 'GET'}), field('explain-path', t('explain.path'), {name: 'path', required: true, placeholder: '/p/1'}),
            el('div', {class: 'field'}, el('label', {for: 'explain-headers'}, t('explain.headers')), el('textarea', {id: 'explain-headers', rows: '2', placeholder: 'Accept-Language: zh', spellcheck: 'false'})),
            at('explain-page-at')], ask_page)));
    if (ctx.query.ref)
        root.querySelector('form').requestSubmit();
}
