// Runs of plans, as lists show them.
import {countdown, el, moment} from './dom.js';
import {cells_table} from './looking.js';
import {t} from './words.js';

export function run_state({state, end}) {
    return el('span', {class: `badge ${['active', 'suspended'].includes(state) || end === 'failed' ? 'on' : ''}`}, el('code', {}, end ? `${state}: ${end}` : state));
}

/** When a run changes its state by itself. */
export function run_left(run, again) {
    if (run.state === 'active')
        return run.until ? [t('runs.ends_in'), ' ', countdown(run.until, again)] : t('plans.until_reverted');
    if (run.state === 'ended')
        return run.ended ? moment(run.ended) : '–';
    if (run.starts_at && run.starts_at < run.lapses_at)
        return [t('runs.starts_in'), ' ', countdown(run.starts_at, again)];
    return run.lapses_at ? [t('runs.lapses_in'), ' ', countdown(run.lapses_at, again)] : '–';
}

export function runs_table(runs, again) {
    return cells_table([{key: 'run', title: t('runs.run')}, {key: 'plan', title: t('runs.plan')}, {key: 'state', title: t('runs.state')}, {key: 'left', title: t('runs.left')},
                  {key: 'by', title: t('runs.by')}, {key: 'reason', title: t('ask.reason')}],
                 runs.map(run => ({key: run.run, run: el('a', {href: `#/runs/${run.run}`}, el('code', {}, run.run)), plan: [el('code', {}, run.plan), ' ', run.title],
                     state: run_state(run), left: run_left(run, again), by: [el('code', {}, run.by), ' ', moment(run.created)], reason: run.reason || '–'})));
}
