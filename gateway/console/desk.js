/* What the first page may do besides looking: read the past, end an override, end a run. */
import {call} from './api.js';
import {confirm_change, el, notice, number, say_error} from './dom.js';
import {has_page, may} from './router.js';
import {add_words, t} from './words.js';

add_words({
    'desk.end_override': {en: 'End the override of {target}?', zh: '结束对 {target} 的覆盖？'},
    'desk.override_ended': {en: 'The override of {target} has ended.', zh: '对 {target} 的覆盖已结束。'},
    'desk.revert': {en: 'Revert what the plan {plan} changed?', zh: '还原预案 {plan} 所做的更改？'},
    'desk.reverted': {en: 'The plan {plan} is reverted.', zh: '预案 {plan} 已还原。'},
    'desk.suspended': {en: 'Somebody changed since what the plan {plan} had set: it is suspended and waits for a decision.', zh: '预案 {plan} 的更改之后又被他人修改，现已挂起，等待决定。'},
    'desk.cancel': {en: 'Cancel the plan {plan} before it begins?', zh: '在预案 {plan} 开始前取消？'},
    'desk.cancelled': {en: 'The plan {plan} was cancelled.', zh: '预案 {plan} 已取消。'},
    'desk.by_itself': {en: 'decided by the gateway itself', zh: '由网关自行决定'},
    'desk.changes': {en: '{n} changes are reverted, each only if it still is as the plan set it.', zh: '将还原 {n} 项更改，仅限仍保持预案设定值的项目。'},
    'desk.end': {en: 'End it', zh: '结束'},
    'desk.revert_button': {en: 'Revert', zh: '还原'},
    'desk.cancel_button': {en: 'Cancel the plan', zh: '取消预案'},
});

const part = encodeURIComponent;

async function history() {
    return (await call('GET', '/admin/v1/overload', {query: {history_s: 600}})).body;
}

export function override_path(target) {
    return '/admin/v1/overrides/' + part(target).replaceAll('%3A', ':');
}

/** Asks why, and ends it; true: it has ended. */
export async function end_override({target, gateway}) {
    const path = override_path(target), query = gateway ? {gateway} : {};
    try {
        const now = (await call('GET', path, {query})).body;
        const confirmed = await confirm_change({
            what: t('desk.end_override', {target}), kind: 'danger', label: t('desk.end'),
            difference: [{path: target, from: now.value, to: now.without ?? t('desk.by_itself')}],
        });
        if (confirmed === null)
            return false;
        await call('DELETE', path, {query, body: confirmed});
        notice('ok', t('desk.override_ended', {target}));
        return true;
    } catch (error) {
        say_error(error);
        return false;
    }
}

async function end_run({run, plan, state}) {
    const begun = state === 'active' || state === 'suspended', path = '/admin/v1/runs/' + part(run);
    try {
        const {changes} = (await call('GET', path)).body;
        const confirmed = await confirm_change({
            what: t(begun ? 'desk.revert' : 'desk.cancel', {plan}), kind: 'danger', label: t(begun ? 'desk.revert_button' : 'desk.cancel_button'),
            dry_run: begun ? el('p', {}, t('desk.changes', {n: number(changes.length)})) : null,
        });
        if (confirmed === null)
            return;
        const ended = (await call('POST', path + (begun ? '/revert' : '/cancel'), {body: confirmed})).body;
        if (ended.state === 'suspended')
            notice('warn', t('desk.suspended', {plan}));
        else
            notice('ok', t(begun ? 'desk.reverted' : 'desk.cancelled', {plan}));
    } catch (error) {
        say_error(error);
    }
}

/** For show_now(): what the role may not do is not offered. */
export function desk_of(ctx) {
    const links = {overrides: has_page('overrides'), plans: has_page('plans'), sales: has_page('sales')};
    return may(ctx.role, 'operator') ? {history, end_override, end_run, links} : {history, links};
}
