// Plans: prepared changes. A plan is a document; from here it is tried, run or armed.
import {ApiError, call} from './api.js';
import {ask} from './ask.js';
import {show_kind} from './documents.js';
import {dialog, el, moment, notice, number, said, say_error} from './dom.js';
import {change_view, levels_view} from './dry_run.js';
import {api_path, KINDS, named, read, schema_of} from './kinds.js';
import {outgoing} from './form.js';
import {may} from './router.js';
import {runs_table} from './run_parts.js';
import {value_code} from './override_parts.js';
import {language, t} from './words.js';

const kind = KINDS.plan;

function start_text({start}) {
    if (!start)
        return t('plans.by_hand');
    if (start.at)
        return t('plans.at', {at: moment(start.at)});
    return start.sale ? t('plans.before', {sale: start.sale, s: start.before_opening_s}) : t('plans.signal', {signal: start.signal, above: start.above, s: start.for_s});
}

const columns = [
    {key: 'title', title: 'plans.title', cell: doc => doc.title},
    {key: 'steps', title: 'plans.steps', numeric: true, cell: doc => number(doc.steps.length)},
    {key: 'start', title: 'plans.start', cell: start_text},
    {key: 'ttl_s', title: 'plans.lasts', cell: doc => doc.ttl_s === null ? t('plans.until_reverted') : number(doc.ttl_s, 's')},
    {key: 'approvals', title: 'plans.approvals', numeric: true, cell: doc => number(doc.approvals)},
];

// --- The dry run. ---

function precondition({when, is, so}) {
    const name = when.sale ? t('plans.when.sale', {sale: when.sale, state: when.state}) : when.signal ? t('plans.when.signal', {signal: when.signal, above: when.above})
        : t('plans.when.gateways', {count: when.gateways_min});
    return el('li', {}, el('span', {class: `badge ${so ? '' : 'on'}`}, t(so ? 'plans.true' : 'plans.false')), ' ', name, ' ', el('span', {class: 'soft'}, t('plans.now', {is: String(is)})));
}

function section(word, list, item) {
    return list.length > 0 && el('section', {}, el('h3', {}, t(word)), el('ul', {class: 'plain'}, list.map(item)));
}

/** Is it a conflict, or a precondition, which have lists of their own? */
function is_listed({pointer, detail}, {conflicts, preconditions}) {
    const [, i] = /^\/when\/(\d+)$/.exec(pointer) ?? [];
    return i !== undefined && preconditions[i]?.so === false || conflicts.some(one => detail.includes(one.run) && detail.includes(one.member));
}

/** All that a plan would do, for people. before: the documents in force that it changes, by their names. */
function plan_dry_view({dry, before}) {
    const level = dry.overrides.find(one => one.override === 'level');
    return el('div', {class: 'plan-dry'},
        el('p', {class: 'would'}, el('span', {class: `badge ${dry.would === 'fail' ? 'on' : ''}`}, el('code', {}, dry.would)), ' ', t('plans.would_' + dry.would)),
        section('plans.preconditions', dry.preconditions, precondition),
        section('plans.faults', dry.faults.filter(one => !is_listed(one, dry)), one => el('li', {class: 'fault'}, el('code', {}, one.pointer), ': ', said(one.detail))),
        section('plans.conflicts', dry.conflicts, one => el('li', {class: 'fault'}, el('code', {}, one.member), ' ', t('plans.conflict', {plan: one.plan}), ' ',
                                                            el('a', {href: `#/runs/${one.run}`}, el('code', {}, one.run)))),
        dry.changes.map(one => change_view(one, before.get(one.document))),
        section('plans.overrides', dry.overrides, one => el('li', {}, el('code', {}, one.override), ' → ', value_code(one.value), ' ',
            one.replaces ? t('plans.replaces', {value: one.replaces.value, until: moment(one.replaces.until)}) : t('plans.replaces_nothing'))),
        level && level.value > 0 && dry.levels && levels_view(dry.levels, level.value));
}

async function in_force({document, action}) {
    const {kind: of, name} = named(document) ?? {};
    const found = action === 'create' || of === undefined ? null : await read(of, name);
    return [document, found === null ? undefined : outgoing(await schema_of(of, language()), found.doc)];
}

async function try_out(page) {
    const dry = (await call('POST', `${api_path(kind, page.name)}/runs`, {body: {}, query: {dry_run: 1}})).body;
    return {dry, before: new Map(await Promise.all(dry.changes.map(in_force)))};
}

async function show_dry(page) {
    try {
        await dialog(t('plans.dry_of', {name: page.name}), plan_dry_view(await try_out(page)));
    } catch (error) {
        say_error(error);
    }
}

// --- Running. ---

async function run(page, doc) {
    try {
        const tried = await try_out(page);
        const fields = [{name: 'ttl_s', label: t('plans.ttl'), hint: t('plans.ttl.hint', {ttl: doc.ttl_s ?? 'null'}), number: true}];
        if (doc.start || doc.approvals > 0)
            fields.push({name: 'arm_ttl_s', label: t('plans.arm_ttl'), hint: t('plans.arm_ttl.hint'), number: true});
        if (tried.dry.conflicts.length > 0)
            fields.push({name: 'force', label: t('plans.force'), hint: t('plans.force.hint'), check: true});
        if (doc.approvals > 0)
            fields.push({name: 'break_glass', label: t('plans.break_glass'), hint: t('plans.break_glass.hint'), check: true});
        const answer = await ask({title: t(doc.start ? 'plans.arm_of' : 'plans.run_of', {name: page.name}), content: plan_dry_view(tried), fields,
                                  button: t(doc.start ? 'plans.arm_now' : 'plans.run_now')});
        if (answer === null)
            return;
        const {body} = await call('POST', `${api_path(kind, page.name)}/runs`, {body: answer});
        notice('ok', t('plans.begun', {run: body.run, state: body.state}));
        page.ctx.go(`runs/${body.run}`);
    } catch (error) {
        say_refusal(error);
    }
}

// A run that was refused has changed nothing: every fault is said.
function say_refusal(error) {
    const faults = error instanceof ApiError ? error.problem?.errors ?? [] : [];
    if (faults.length === 0)
        return say_error(error);
    return dialog(t('plans.refused'), el('div', {}, el('p', {}, said(error.problem.title), ' – ', t('plans.nothing_changed')),
                  el('ul', {}, faults.map(one => el('li', {}, one.pointer && [el('code', {}, one.pointer), ': '], said(one.detail))))));
}

async function draw_panel(place, doc, page) {
    const {runs} = (await call('GET', '/admin/v1/runs', {query: {plan: page.name}})).body;
    const operator = may(page.ctx.role, 'operator');
    page.put_panel(place, [doc, runs], () => [doc.text && el('p', {class: 'text'}, doc.text), el('p', {class: 'soft'}, start_text(doc)),
        operator && el('div', {class: 'commands'}, el('button', {type: 'button', id: 'plan-try', onclick: () => show_dry(page)}, t('plans.try')),
            el('button', {type: 'button', id: 'plan-run', class: 'primary', onclick: () => run(page, doc)}, t(doc.start ? 'plans.arm' : 'plans.run'))),
        el('h2', {}, t('plans.runs')), runs.length > 0 ? runs_table(runs.reverse(), page.refresh) : el('p', {class: 'soft'}, t('runs.none'))]);
}

function panel(place, doc, page) {
    draw_panel(place, doc, page).catch(page.say_trouble);
}

export function show(root, ctx) {
    return show_kind(root, ctx, {kind, columns, about: t('plans.about')},
                     {panel, begin: () => ({title: '', steps: [{override: {target: 'level', value: 2}}], ttl_s: 900})});
}
