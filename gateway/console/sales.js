// Sales: their units, what an operator does with them, and their documents.
import {call} from './api.js';
import {show_kind} from './documents.js';
import {dialog, el, moment, notice, number, said, say_error} from './dom.js';
import {api_path, KINDS} from './kinds.js';
import {may} from './router.js';
import {t} from './words.js';
import {ask} from './ask.js';
import {cells_table} from './looking.js';

const kind = KINDS.sale;

// Which actions a state offers.
const OFFERED = {draft: ['open'], scheduled: ['open'], open: ['pause', 'end'], paused: ['resume', 'end']};
const UNITS = ['adjustments', 'available', 'held', 'confirmed', 'in_doubt'];

function sum(doc, member) {
    const known = doc.skus.map(sku => sku[member]).filter(one => one !== null && one !== undefined);
    return known.length === 0 ? '–' : number(known.reduce((a, b) => a + b, 0));
}

export function state_mark(state) {
    return el('span', {class: `badge ${state === 'paused' ? 'on' : ''}`}, el('code', {}, state));
}

const columns = [
    {key: 'state', title: 'sales.state', cell: doc => [state_mark(doc.state), doc.rehearsal && [' ', t('sales.rehearsal')], doc.refused && [' ', el('span', {class: 'fault'}, said(doc.refused))]]},
    {key: 'opens_at', title: 'sales.opens', cell: doc => doc.opens_at ? moment(doc.opens_at) : '–'},
    {key: 'closes_at', title: 'sales.closes', cell: doc => doc.closes_at ? moment(doc.closes_at) : '–'},
    ...['adjustments', 'available', 'held', 'confirmed'].map(key => ({key, title: 'sales.' + key, numeric: true, cell: doc => sum(doc, key)})),
];

// --- Actions. ---

async function act(page, action) {
    const {name} = page;
    const answer = await ask({title: t('sales.' + action), text: t('sales.' + action + '.text', {name}), danger: action === 'end'});
    if (answer === null)
        return;
    try {
        const {body} = await call('POST', `${api_path(kind, name)}/${action}`, {body: {reason: answer.reason}});
        notice('ok', t('sales.now', {name, state: body.state}));
        page.refresh();
    } catch (error) {
        say_error(error);
    }
}

async function adjust(page, sku) {
    const answer = await ask({title: t('sales.adjust_of', {sku}), text: t('sales.adjust.text'), fields: [
        {name: 'delta', label: t('sales.delta'), hint: t('sales.delta.hint'), number: true, required: true},
        {name: 'adjust_id', label: t('sales.adjust_id'), hint: t('sales.adjust_id.hint'), required: true,
         value: `console-${new Date().toISOString().replace(/\D/g, '').slice(0, 14)}`}]});
    if (answer === null)
        return;
    try {
        const {body} = await call('POST', `${api_path(kind, page.name)}/skus/${encodeURIComponent(sku)}/adjust`, {body: answer});
        notice('ok', t('sales.adjusted', {sku, delta: number(body.delta), available: number(body.available)}));
        page.refresh();
    } catch (error) {
        say_error(error);
    }
}

async function rebuild(page) {
    const {name} = page;
    const answer = await ask({title: t('sales.rebuild'), text: t('sales.rebuild.text', {name}), danger: true});
    if (answer === null)
        return;
    try {
        const {body} = await call('POST', `${api_path(kind, name)}/rebuild`, {body: {reason: answer.reason}});
        notice('ok', t('sales.rebuilt', {name, epoch: body.epoch}));
        page.refresh();
    } catch (error) {
        say_error(error);
    }
}

function audit_view(audit) {
    const names = ['adjustments', 'available', 'held', 'confirmed', 'in_doubt', 'released', 'counter_available', 'counter_held', 'counter_confirmed']
        .filter(one => one in audit.skus[0]);
    return el('div', {}, el('p', {class: audit.ok ? 'soft' : 'fault'}, t(audit.ok ? 'sales.audit.ok' : 'sales.audit.not', {count: number(audit.violation_count)}), ' ',
                            t('sales.audit.at', {seq: number(audit.seq)}), ' ', moment(audit.at)),
              cells_table([{key: 'sku', title: 'SKU'}, ...names.map(key => ({key, title: key, numeric: true}))],
                    audit.skus.map(sku => ({key: sku.sku, sku: el('code', {}, sku.sku), ...Object.fromEntries(names.map(key => [key, number(sku[key])]))}))),
              audit.violations.length > 0 && el('ul', {class: 'violations'}, audit.violations.map(one =>
                  el('li', {}, el('code', {}, one.rule), ' ', one.sku && [el('code', {}, one.sku), ' '], one.order_id && [el('code', {}, one.order_id), ' '], said(one.text)))),
              audit.notices.length > 0 && [el('h3', {}, t('sales.audit.notices')), el('ul', {}, audit.notices.map(one => el('li', {}, said(one))))]);
}

async function audit(page, button) {
    button.disabled = true;
    try {
        const {body} = await call('GET', `${api_path(kind, page.name)}/audit`);
        await dialog(t('sales.audit_of', {name: page.name}), audit_view(body));
    } catch (error) {
        say_error(error);
    } finally {
        button.disabled = false;
    }
}

// --- One sale. ---

function units_table(page, doc) {
    const operator = may(page.ctx.role, 'operator') && ['open', 'paused'].includes(doc.state);
    return cells_table([{key: 'sku', title: 'SKU'}, ...UNITS.map(key => ({key, title: t('sales.' + key), numeric: true})), ...(operator ? [{key: 'adjust', title: ''}] : [])],
                 doc.skus.map(sku => ({key: sku.sku, sku: el('code', {}, sku.sku),
                     ...Object.fromEntries(UNITS.map(key => [key, sku[key] === null || sku[key] === undefined ? '–' : number(sku[key])])),
                     adjust: operator && el('button', {type: 'button', class: 'small', 'aria-label': `${t('sales.adjust')}: ${sku.sku}`, onclick: () => adjust(page, sku.sku)}, t('sales.adjust'))})));
}

function panel(place, doc, page) {
    const button = (action, work, more) => el('button', {type: 'button', id: `sale-${action}`, onclick: event => work(event.currentTarget), ...more}, t('sales.' + action));
    const operator = may(page.ctx.role, 'operator');
    const was_opened = !['draft', 'scheduled'].includes(doc.state);
    page.put_panel(place, [doc.state, doc.refused, doc.not_archived, doc.skus.map(sku => UNITS.map(key => sku[key]))], () => [
        el('p', {}, t('sales.state'), ': ', state_mark(doc.state), doc.refused && [' ', el('span', {class: 'fault'}, said(doc.refused))],
           doc.not_archived && [' ', el('span', {class: 'warning'}, t('sales.not_archived'), ' ', said(doc.not_archived))]),
        units_table(page, doc),
        el('div', {class: 'commands'},
           operator && (OFFERED[doc.state] || []).map(action => button(action, () => act(page, action), action === 'end' ? {class: 'danger'} : {})),
           was_opened && button('audit', at => audit(page, at)),
           operator && ['open', 'paused', 'ended'].includes(doc.state) && button('rebuild', () => rebuild(page))),
    ]);
}

export function show(root, ctx) {
    return show_kind(root, ctx, {kind, columns, about: t('sales.about')}, {panel, begin: () => ({skus: [{sku: '', stock: 100}]})});
}
