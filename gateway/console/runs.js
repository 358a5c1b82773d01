// Runs of plans: what each has changed and will take back, and what an operator decides about it.
import {call} from './api.js';
import {ask} from './ask.js';
import {difference_view, value_view} from './diff.js';
import {el, moment, notice, said, say_error} from './dom.js';
import {keep_looking, put_again} from './looking.js';
import {may} from './router.js';
import {run_left, run_state, runs_table} from './run_parts.js';
import {t} from './words.js';

const STATES = ['waiting_approval', 'armed', 'active', 'suspended', 'ended'];

// Which actions a state offers.
const OFFERED = {waiting_approval: ['approve', 'cancel'], armed: ['cancel'], active: ['revert', 'keep'], suspended: ['revert', 'keep'], ended: []};

// --- The list. ---

function show_list(root, ctx) {
    const place = el('div', {class: 'card list'});
    const choice = el('select', {id: 'run-state', onchange: () => ctx.go(choice.value ? `runs?state=${choice.value}` : 'runs')},
        el('option', {value: ''}, t('runs.all')), STATES.map(state => el('option', {value: state, selected: ctx.query.state === state}, state)));
    const more = el('div', {class: 'commands'});
    let shown = '', pages = 1;
    const look = async signal => {
        let runs = [], after;
        for (let i = 0; i < pages; i++) {
            const {body} = await call('GET', '/admin/v1/runs', {signal, query: {...(ctx.query.state ? {state: ctx.query.state} : {}), ...(after ? {after} : {})}});
            runs = runs.concat(body.runs);
            after = body.next;
            if (!after)
                break;
        }
        const text = JSON.stringify(runs);
        if (signal.aborted || text === shown)
            return;
        shown = text;
        more.replaceChildren(...(after ? [el('button', {type: 'button', onclick: () => {
            pages++;
            look(signal).catch(say_error);
        }}, t('list.more'))] : []));
        put_again(place, runs.length > 0 ? runs_table(runs.reverse(), () => look(signal).catch(say_error)) : el('p', {class: 'soft'}, t('runs.none')));
    };
    root.append(el('h1', {}, t('nav.runs')), el('div', {class: 'commands'}, el('label', {for: 'run-state'}, t('runs.state')), choice), place, more);
    return keep_looking(look);
}

// --- One run. ---

function change_item(one) {
    const name = one.override ?? `${one.document}${one.path}`, [before, after] = t('runs.left_over').split('{why}');
    return el('li', {}, t('runs.step', {step: one.step + 1}), ' ', one.done && el('span', {class: 'badge'}, t('runs.done_' + one.done)),
              difference_view([{path: name, before: one.was, after: one.set}]),
              one.left && el('p', {class: 'fault'}, before, said(one.left.why), after, ' ', value_view(one.left.is)));
}

async function act(ctx, run, action, look) {
    const fields = action === 'revert' && run.state === 'suspended' ? [{name: 'force', label: t('runs.force'), hint: t('runs.force.hint'), check: true}] : [];
    const answer = await ask({title: t('runs.' + action), text: t('runs.' + action + '.text'), fields, danger: action === 'keep'});
    if (answer === null)
        return;
    try {
        const {body} = await call('POST', `/admin/v1/runs/${run.run}/${action}`, {body: answer});
        notice('ok', t('runs.is_now', {run: run.run, state: body.end ? `${body.state}: ${body.end}` : body.state}));
        await look();
    } catch (error) {
        say_error(error);
    }
}

function facts(run, again) {
    const rows = [['runs.plan', [el('a', {href: `#/plans/${encodeURIComponent(run.plan)}`}, el('code', {}, run.plan)), ' ', run.title]],
                  ['runs.state', [run_state(run), ' ', t('runs.since'), ' ', moment(run.since)]], ['runs.left', run_left(run, again)],
                  ['runs.by', [el('code', {}, run.by), ' ', moment(run.created)]], ['ask.reason', run.reason || '–'],
                  ['plans.approvals', [`${run.approved.length} / ${run.approvals}`, run.approved.map(one => [' · ', el('code', {}, one.who), ' ', moment(one.at)])]]];
    if (run.force || run.break_glass)
        rows.push(['runs.flags', [run.force && el('code', {}, 'force'), ' ', run.break_glass && el('code', {}, 'break_glass')]]);
    return el('dl', {class: 'facts'}, rows.map(([word, value]) => [el('dt', {}, t(word)), el('dd', {}, value)]));
}

// A token does not approve what it has started.
function offered(ctx, run) {
    const decided = run.approved.some(one => one.who === ctx.token_id);
    return may(ctx.role, 'operator') ? OFFERED[run.state].filter(action => action !== 'approve' || run.by !== ctx.token_id && !decided) : [];
}

function show_run(root, ctx) {
    const place = el('div', {class: 'card'});
    let shown = '';
    const look = async signal => {
        const run = (await call('GET', `/admin/v1/runs/${encodeURIComponent(ctx.parts[0])}`, {signal})).body;
        const again = () => look().catch(say_error);
        const text = JSON.stringify(run);
        if (signal?.aborted || text === shown)
            return;
        shown = text;
        put_again(place, el('div', {}, run.why && el('p', {class: 'warning', role: 'status'}, said(run.why)), facts(run, again),
            run.state === 'waiting_approval' && run.by === ctx.token_id && el('p', {class: 'soft'}, t('runs.others_approve')),
            el('div', {class: 'commands'}, offered(ctx, run).map(action => el('button', {type: 'button', id: `run-${action}`, class: action === 'keep' ? 'danger' : 'primary',
                onclick: () => act(ctx, run, action, look)}, t('runs.' + action)))),
            el('h2', {}, t('runs.changes')), run.changes.length > 0 ? el('ol', {class: 'items'}, run.changes.map(change_item)) : el('p', {class: 'soft'}, t('runs.no_changes')),
            el('details', {}, el('summary', {}, t('runs.as_it_was')), el('pre', {class: 'value', tabindex: '0'}, JSON.stringify(run.as_it_was, null, 2)))));
    };
    root.append(el('p', {class: 'back'}, el('a', {href: '#/runs'}, `← ${t('nav.runs')}`)), el('h1', {}, t('runs.run'), ' ', el('code', {}, ctx.parts[0])), place);
    return keep_looking(look, 2000);
}

export function show(root, ctx) {
    return ctx.parts.length === 0 ? show_list(root, ctx) : show_run(root, ctx);
}
