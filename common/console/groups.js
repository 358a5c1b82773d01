/* Answers that are drawn together, from the bottom of a chart up. The last group has the rest. */
import {add_words} from './words.js';

add_words({
    'group_of.accepted': {en: 'accepted', zh: '已接受'},
    'group_of.pending': {en: 'pending', zh: '待定'},
    'group_of.replayed': {en: 'repeated', zh: '重复请求'},
    'group_of.out': {en: 'sold out, not open', zh: '售罄或未开售'},
    'group_of.limits': {en: 'limits', zh: '限流'},
    'group_of.shed': {en: 'shed', zh: '过载保护'},
    'group_of.trouble': {en: 'cannot serve', zh: '无法服务'},
    'group_of.bad': {en: 'no answer', zh: '无应答'},
    'group_of.other': {en: 'other refusals', zh: '其他拒绝'},
    'group_of.pages': {en: 'pages, look-ups', zh: '页面与查询'},
});

export const groups = [
    {name: 'accepted', colour: 'yes', of: ['accepted']},
    {name: 'pending', colour: 'pending', of: ['pending']},
    {name: 'replayed', colour: 'replayed', of: ['replayed']},
    {name: 'out', colour: 'out', of: ['sold_out', 'ended', 'not_started', 'paused', 'archived']},
    {name: 'limits', colour: 'limits', of: ['user_limit', 'user_rate', 'ip_rate', 'sale_rate', 'global_rate', 'blocked']},
    {name: 'shed', colour: 'shed', of: ['shed', 'too_many_connections']},
    {name: 'trouble', colour: 'backlog', of: ['log_backlog', 'log_unavailable', 'store_unavailable', 'fenced', 'draining', 'internal', 'bad_gateway', 'gateway_timeout', 'upstream_unavailable']},
    {name: 'bad', colour: 'bad', of: ['no_answer', 'reset', 'refused', 'garbled']},
    {name: 'pages', colour: 'page', of: ['ok', 'page', 'partial', 'created', 'no_content']},
    {name: 'other', colour: 'other', of: []},
];

const place = new Map(groups.flatMap((group, i) => group.of.map(code => [code, i])));

export function group_of(code) {
    return place.get(code) ?? groups.length - 1;
}

/** Sums by group of {code: number}. */
export function by_group(answers) {
    const sums = groups.map(() => 0);
    for (const [code, n] of Object.entries(answers ?? {}))
        sums[group_of(code)] += n ?? 0;
    return sums;
}
