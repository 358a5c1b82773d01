// Overrides: what is set by hand now, and setting one: its target is chosen from what exists.
import {ApiError, call} from './api.js';
import {override_path} from './desk.js';
import {confirm_change, el, notice, said, say_error} from './dom.js';
import {difference_view} from './diff.js';
import {levels_view} from './dry_run.js';
import {KINDS, list_page} from './kinds.js';
import {keep_looking, put_again} from './looking.js';
import {overrides_table} from './override_parts.js';
import {may} from './router.js';
import {t} from './words.js';

const TTLS = [300, 600, 1800, 3600, 14400, 86400];

/* What can be overridden. `names`: the targets that exist; `values`: the words that it takes, null: a number. */
async function targets_of(kind, make) {
    return (await list_page(kind)).rows.flatMap(({name, doc}) => make(name, doc));
}

const TARGETS = {
    level: {names: async () => ['level'], values: ['0', '1', '2', '3', '4'], number: true},
    feature: {names: () => targets_of(KINDS.feature, name => [`feature:${name}`]), values: ['off', 'on']},
    limit: {names: () => targets_of(KINDS.limit, name => [`limit:${name}`]), values: ['shadow', 'off', 'enforce']},
    fallback: {names: () => targets_of(KINDS.route, name => [`fallback:${name}`]), values: ['on']},
    split: {names: () => targets_of(KINDS.route, (name, doc) => (doc.split || []).map(one => `split:${name}:${one.pool}`)), values: null, hint: 'override.share_hint'},
    breaker: {names: async () => (await call('GET', '/admin/v1/breakers')).body.breakers.map(one => `breaker:${one.name}`), values: ['open', 'closed']},
    flow: {names: async () => (await call('GET', '/admin/v1/flow')).body.flow.map(one => `flow:${one.name}`), values: null, hint: 'override.flow_hint'},
};

function field(id, label, control, hint) {
    return el('div', {class: 'field'}, el('label', {for: id}, label), control, hint && el('p', {class: 'hint', id: `${id}-hint`}, hint));
}

function options(values, chosen) {
    return values.map(value => el('option', {value, selected: value === chosen}, value));
}

function value_control(what) {
    const {values, hint} = TARGETS[what];
    return values
        ? field('override-value', t('override.value'), el('select', {id: 'override-value'}, options(values, what === 'level' ? '2' : values[0])))
        : field('override-value', t('override.value'), el('input', {id: 'override-value', type: 'text', inputmode: 'decimal', autocomplete: 'off', 'aria-describedby': 'override-value-hint'}), t(hint));
}

function ttl_control() {
    const input = el('input', {id: 'override-ttl', type: 'text', inputmode: 'numeric', value: '600', autocomplete: 'off', 'aria-describedby': 'override-ttl-hint'});
    return field('override-ttl', t('override.ttl'),
                 el('span', {class: 'control'}, input, el('span', {class: 'unit'}, 's'), TTLS.map(s =>
                     el('button', {type: 'button', class: 'small', onclick: () => input.value = String(s)}, t(s < 3600 ? 'override.minutes' : 'override.hours', {n: s < 3600 ? s / 60 : s / 3600})))),
                 t('override.ttl_hint'));
}

async function gateway_control() {
    const {gateways} = (await call('GET', '/admin/v1/gateways')).body;
    return field('override-gateway', t('override.gateway'), el('select', {id: 'override-gateway'}, el('option', {value: ''}, t('override.all_gateways')),
                                                              options(gateways.map(one => one.gateway))));
}

function read_form(what) {
    const by = id => document.getElementById(id).value.trim();
    const number = text => text !== '' && Number.isFinite(Number(text)) ? Number(text) : text;
    return {target: by('override-target'), body: {
        value: TARGETS[what].values && !TARGETS[what].number ? by('override-value') : number(by('override-value')),
        ttl_s: number(by('override-ttl')), gateway: by('override-gateway') || null}};
}

function dry_view({override, levels}) {
    return el('div', {}, el('p', {}, t('override.would', {s: Math.round((Date.parse(override.until) - Date.parse(override.since)) / 1000)})),
              levels && override.target === 'level' && override.value > 0 && levels_view(levels, override.value));
}

// The reason is asked for with the difference; the dry run needs one, too.
async function set_override(what, faults, again) {
    const {target, body} = read_form(what);
    faults.replaceChildren();
    try {
        const dry = (await call('PUT', override_path(target), {body: {...body, reason: t('override.dry_reason')}, query: {dry_run: 1}})).body;
        const difference = difference_view([{path: target, before: dry.override.without ?? undefined, after: dry.override.value}]);
        const answer = await confirm_change({what: t('override.confirm', {target}), difference, dry_run: dry_view(dry)});
        if (answer === null)
            return;
        const done = (await call('PUT', override_path(target), {body: {...body, reason: answer.reason}})).body;
        notice('ok', t('override.is_set', {target: done.target, value: done.value}));
        again();
    } catch (error) {
        if (!(error instanceof ApiError) || error.status < 400 || error.status >= 500)
            return say_error(error);
        const list = error.problem?.errors ?? [{pointer: '', detail: error.message}];
        faults.replaceChildren(...list.map(one => el('li', {}, one.pointer && [el('code', {}, one.pointer), ': '], said(one.detail))));
    }
}

async function setter(asked, again) {
    const [wanted] = asked ? asked.split(':') : ['level'];
    let what = wanted in TARGETS ? wanted : 'level';
    const place = el('div', {class: 'row'}), faults = el('ul', {class: 'faults', role: 'alert'});
    const choose = el('select', {id: 'override-kind', onchange: event => draw(event.target.value)}, Object.keys(TARGETS).map(one =>
        el('option', {value: one, selected: one === what}, `${one} – ${t('override.kind_' + one)}`)));
    const draw = async next => {
        what = next;
        try {
            const names = await TARGETS[what].names();
            place.replaceChildren(...(names.length === 0 ? [el('p', {class: 'soft'}, t('override.no_target'))]
                : [field('override-target', t('override.target'), el('select', {id: 'override-target'}, options(names, asked))), value_control(what)]));
            button.disabled = names.length === 0;
        } catch (error) {
            say_error(error);
        }
    };
    const button = el('button', {type: 'button', class: 'primary', onclick: () => set_override(what, faults, again)}, t('override.set'));
    await draw(what);
    return el('section', {class: 'card', 'aria-label': t('override.new')}, el('h2', {}, t('override.new')), field('override-kind', t('override.what'), choose), place,
              ttl_control(), await gateway_control(), faults, el('div', {class: 'commands'}, button));
}

export async function show(root, ctx) {
    const place = el('div', {class: 'card list'});
    let shown = '';
    const look = async signal => {
        const {overrides} = (await call('GET', '/admin/v1/overrides', {signal})).body;
        const text = JSON.stringify(overrides);
        if (signal?.aborted || text === shown)
            return;
        shown = text;
        put_again(place, overrides.length > 0 ? overrides_table(ctx, overrides, again) : el('p', {class: 'soft'}, t('override.none')));
    };
    const again = () => look().catch(say_error);
    root.append(el('h1', {}, t('nav.overrides')), el('p', {class: 'soft'}, t('override.about')), place);
    if (may(ctx.role, 'operator'))
        root.append(await setter(ctx.query.target, again));
    return keep_looking(look);
}
