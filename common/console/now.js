/* The first page: what goes on now. All that is needed at 20:01 is here.
 *
 *   show_now(root, ctx, desk) -> clean-up
 *   ctx: of router.js; ctx.events brings the state of the gateway once a second
 *   desk: what the page may do besides looking, each may be missing:
 *     history()        -> Promise of what GET /admin/v1/overload says
 *     end_override(o), end_run(r)          end it, after asking for a reason
 *     links            {overrides, plans, sales}: whether there are such pages
 *     span_s           how much of the past the charts show; ten minutes
 *     crowd()          -> {node, end()}: a rehearsal's figures, put first */
import {chart} from './charts.js';
import {countdown, duration, el, moment, number, percent, wide} from './dom.js';
import {by_group, groups} from './groups.js';
import {add_words, t} from './words.js';

add_words({
    'nav.now': {en: 'Now', zh: '实时'},
    'now.as_of': {en: 'Gateway {gateway}, Penstock {version}. Figures of the last second, as of {at}.', zh: '网关 {gateway}，Penstock {version}。最近一秒的数据，截至 {at}。'},
    'now.scope': {en: 'Units are of the whole cluster, all rates of this gateway.', zh: '库存为整个集群的数据，速率仅为本网关的数据。'},
    'now.level': {en: 'Overload level, of 4', zh: '过载级别（共 4 级）'},
    'now.level_since': {en: 'since {at}', zh: '自 {at}'},
    'now.off': {en: 'off: ', zh: '已关闭：'},
    'now.pressure': {en: 'Pressure, 1 is full', zh: '压力（1 为满载）'},
    'now.highest': {en: 'highest: {signal}', zh: '最高：{signal}'},
    'now.orders': {en: 'Orders accepted', zh: '接受订单'},
    'now.refusals': {en: 'Refusals', zh: '拒绝'},
    'now.latency': {en: 'Order latency, p99', zh: '下单延迟 p99'},
    'now.p50': {en: 'p50 {n}', zh: 'p50 {n}'},
    'now.p99': {en: 'p99', zh: 'p99'},
    'now.sale_latency': {en: 'Latency, p99', zh: '延迟 p99'},
    'now.admitted': {en: 'Let in under overload', zh: '过载时放行比例'},
    'now.not_normal': {en: 'Not normal now', zh: '当前非常态'},
    'now.normal': {en: 'Nothing is overridden, and no plan is active.', zh: '没有生效的覆盖，也没有执行中的预案。'},
    'now.not_ready': {en: 'The gateway is not ready: it takes no new buyers.', zh: '网关未就绪：不接收新的买家。'},
    'now.override': {en: 'override', zh: '覆盖'},
    'now.plan': {en: 'plan', zh: '预案'},
    'now.here_only': {en: 'on {gateway} only', zh: '仅 {gateway}'},
    'now.of_run': {en: 'by a plan', zh: '由预案设置'},
    'now.by': {en: 'by {who}: {reason}', zh: '由 {who} 设置：{reason}'},
    'now.by_nobody': {en: 'by {who}', zh: '由 {who} 执行'},
    'now.ends_in': {en: 'ends in', zh: '剩余'},
    'now.starts_in': {en: 'starts in', zh: '启动倒计时'},
    'now.lapses_in': {en: 'lapses in', zh: '失效倒计时'},
    'now.no_end': {en: 'until somebody ends it', zh: '直到有人结束'},
    'now.end': {en: 'End', zh: '结束'},
    'now.revert': {en: 'Revert', zh: '还原'},
    'now.cancel': {en: 'Cancel', zh: '取消'},
    'now.state_waiting_approval': {en: 'waits for approval', zh: '等待审批'},
    'now.state_armed': {en: 'armed', zh: '待触发'},
    'now.state_active': {en: 'active', zh: '执行中'},
    'now.state_suspended': {en: 'suspended: needs a decision', zh: '已挂起：需要决定'},
    'now.state_ended': {en: 'ended', zh: '已结束'},
    'now.all_overrides': {en: 'All overrides, and new ones', zh: '全部覆盖，新建覆盖'},
    'now.all_plans': {en: 'Plans', zh: '预案'},
    'now.all_sales': {en: 'All sales', zh: '全部活动'},
    'now.sales': {en: 'Open sales', zh: '进行中的活动'},
    'now.no_sale': {en: 'No sale is open.', zh: '没有进行中的活动。'},
    'now.next': {en: 'Next: {sale} opens at {at}, in ', zh: '下一场：{sale}，{at} 开售，还有 '},
    'now.open': {en: 'open', zh: '进行中'},
    'now.paused': {en: 'paused', zh: '已暂停'},
    'now.fenced': {en: 'counters are rebuilt', zh: '正在重建计数'},
    'now.closes_in': {en: 'closes in ', zh: '距结束 '},
    'now.left': {en: 'left', zh: '剩余'},
    'now.held': {en: 'held', zh: '已预留'},
    'now.confirmed': {en: 'confirmed', zh: '已确认'},
    'now.units': {en: '{left} units left, {held} held, {confirmed} confirmed', zh: '剩余 {left} 件，已预留 {held} 件，已确认 {confirmed} 件'},
    'now.units_head': {en: 'Units left', zh: '剩余件数'},
    'now.of_total': {en: '{share} of {total}', zh: '共 {total}，{share}'},
    'now.sale_orders': {en: 'Orders', zh: '订单'},
    'now.sold': {en: '{n} sold', zh: '售出 {n}'},
    'now.to_sold_out': {en: 'To sell-out', zh: '距售罄'},
    'now.sold_out': {en: 'sold out', zh: '已售罄'},
    'now.standing': {en: 'nothing is sold', zh: '无销售'},
    'now.over_10s': {en: 'rate of 10 s', zh: '按 10 秒速度'},
    'now.why_refused': {en: 'Refusals a second: ', zh: '每秒拒绝：'},
    'now.none_refused': {en: 'No refusals in the last second.', zh: '最近一秒没有拒绝。'},
    'now.more': {en: '{n} more are not shown here.', zh: '另有 {n} 项未在此显示。'},
    'now.last': {en: 'last {n}', zh: '最近 {n}'},
    'now.chart_answers': {en: 'Answers a second', zh: '每秒应答'},
    'now.chart_latency': {en: 'Order latency', zh: '下单延迟'},
    'now.chart_pressure': {en: 'Pressure and level', zh: '压力与级别'},
    'now.pressure_line': {en: 'pressure', zh: '压力'},
    'now.level_line': {en: 'level', zh: '级别'},
    'now.signals': {en: 'Signals of overload', zh: '过载信号'},
    'now.signal': {en: 'signal', zh: '信号'},
    'now.value': {en: 'value', zh: '当前值'},
    'now.threshold': {en: 'threshold', zh: '阈值'},
    'now.share': {en: 'share of full', zh: '占比'},
    'now.gateways': {en: 'Gateways', zh: '网关'},
    'now.gateway': {en: 'gateway', zh: '网关'},
    'now.alive': {en: 'alive', zh: '存活'},
    'now.silent': {en: 'silent', zh: '无心跳'},
    'now.this': {en: 'this one', zh: '本网关'},
    'now.leads': {en: 'leads', zh: '主导'},
    'now.heartbeat': {en: 'last heartbeat', zh: '上次心跳'},
    'now.ago': {en: '{n} ago', zh: '{n}前'},
    'now.state': {en: 'state', zh: '状态'},
});

const SPAN_S = 600; /* as much as the gateway keeps */

function tile(label) {
    const value = el('b', {}, '–'), under = el('span', {}, '\u00a0');
    const node = el('div', {class: 'figure'}, el('span', {}, label), value, under);
    return {node, set(text, unit, below, is_not_normal = false) {
        value.replaceChildren(text, unit ? el('small', {}, ' ' + unit) : '');
        under.replaceChildren(below ?? '\u00a0');
        node.classList.toggle('not-normal', is_not_normal);
    }};
}

/** "1,234 /s" in two parts, so that the unit is small. */
function split(text) {
    const at = text.search(/\s\S*$/);
    return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

function sum(answers, wanted) {
    return Object.entries(answers ?? {}).reduce((total, [code, n]) => wanted(code) ? total + n : total, 0);
}

const is_order = code => code === 'accepted' || code === 'pending';
const is_content = code => groups.find(group => group.name === 'pages').of.includes(code) || code === 'replayed';

/* --- The row of figures. --- */

function figures() {
    const tiles = {orders: tile(t('now.orders')), refusals: tile(t('now.refusals')), latency: tile(t('now.latency')), level: tile(t('now.level')), pressure: tile(t('now.pressure')),
        admitted: tile(t('now.admitted'))};
    return {node: el('div', {class: 'tiles'}, Object.values(tiles).map(one => one.node)), update(state) {
        const answers = state.answers_per_s, off = state.features_off ?? [];
        tiles.orders.set(...split(number(sum(answers, is_order), 'per_s')));
        tiles.refusals.set(...split(number(sum(answers, code => !is_order(code) && !is_content(code)), 'per_s')));
        tiles.latency.set(...split(number(state.order_p99_ms, 'ms')), t('now.p50', {n: number(state.order_p50_ms, 'ms')}));
        tiles.level.set(String(state.level), '', off.length > 0 ? el('span', {}, t('now.off'), off.map((name, i) => [i > 0 ? ' ' : '', el('code', {}, name)])) : t('now.level_since', {at: moment(state.level_since)}),
            state.level > 0);
        tiles.pressure.set(number(state.pressure), '', state.highest ? el('code', {}, state.highest) : null, state.pressure >= 1);
        tiles.admitted.set(...split(percent(state.admitted)), null, state.admitted < 1);
    }};
}

/* --- What is not normal. --- */

function row(kind, name, facts, end, button) {
    return el('li', {}, el('div', {}, el('span', {class: 'badge on'}, kind), ' ', el('b', {}, name)), el('div', {class: 'soft'}, facts),
        el('div', {class: 'ending'}, end), el('div', {class: 'ending'}, button));
}

function override_row(one, desk) {
    const what = [el('code', {}, one.target), ' = ', el('code', {}, String(one.value)), one.gateway ? [' ', t('now.here_only', {gateway: one.gateway})] : null];
    const button = desk.end_override && el('button', {type: 'button', class: 'danger', 'aria-label': `${t('now.end')}: ${one.target}`, onclick: () => desk.end_override(one)}, t('now.end'));
    return row(t('now.override'), what, [t('now.by', {who: one.by, reason: one.reason}), one.run ? ' · ' + t('now.of_run') : null], [t('now.ends_in'), ' ', countdown(one.until)], button);
}

function run_row(one, desk) {
    const begun = one.state === 'active' || one.state === 'suspended', starts = !begun && one.starts_at && one.starts_at < one.lapses_at;
    const end = begun ? one.until : starts ? one.starts_at : one.lapses_at;
    const label = t(begun ? 'now.revert' : 'now.cancel');
    const button = desk.end_run && el('button', {type: 'button', class: 'danger', 'aria-label': `${label}: ${one.plan}`, onclick: () => desk.end_run(one)}, label);
    return row(t('now.plan'), [el('code', {}, one.plan), ' ', t('now.state_' + one.state)], [t('now.by_nobody', {who: one.by}), ' · ', moment(one.since)],
        end ? [t(begun ? 'now.ends_in' : starts ? 'now.starts_in' : 'now.lapses_in'), ' ', countdown(end)] : t('now.no_end'), button);
}

function not_normal(desk) {
    const list = el('ul', {class: 'not-normal-list'}), head = el('h2', {}), more = el('p', {class: 'soft'});
    const links = el('span', {class: 'soft links'}, desk.links?.overrides ? el('a', {href: '#/overrides'}, t('now.all_overrides')) : null, ' ',
        desk.links?.plans ? el('a', {href: '#/plans'}, t('now.all_plans')) : null);
    const node = el('section', {class: 'card'}, el('header', {}, head, links), list, more);
    let shown = null;
    return {node, update(state) {
        const key = JSON.stringify([state.overrides, state.runs, state.left_out, state.ready, state.not_ready]);
        if (key === shown)
            return;
        shown = key;
        const rows = [...state.runs.map(one => run_row(one, desk)), ...state.overrides.map(one => override_row(one, desk))];
        if (!state.ready)
            rows.unshift(el('li', {}, el('div', {}, el('b', {}, t('now.not_ready')), ' ', el('code', {}, state.not_ready))));
        const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null;
        list.replaceChildren(...rows);
        if (focused)
            list.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
        const left_out = (state.left_out?.overrides ?? 0) + (state.left_out?.runs ?? 0);
        more.textContent = left_out > 0 ? t('now.more', {n: number(left_out)}) : '';
        head.textContent = rows.length > 0 ? t('now.not_normal') : t('now.normal');
        node.classList.toggle('not-normal', rows.length > 0);
        node.classList.toggle('calm', rows.length === 0);
    }};
}

/* --- Sales. --- */

function sale_card(name) {
    const parts = ['confirmed', 'held', 'left'], colours = {confirmed: 'yes', held: 'held', left: 'rest'};
    const badge = el('span', {class: 'badge'}), closes = el('span', {class: 'soft'}), refusals = el('p', {class: 'refusals'});
    const bar = el('div', {class: 'bar', role: 'img'}, parts.map(part => el('i', {class: colours[part]})));
    const counts = parts.map(() => el('b', {}, '–'));
    const tiles = {left: tile(t('now.units_head')), orders: tile(t('now.sale_orders')), latency: tile(t('now.sale_latency')), out: tile(t('now.to_sold_out'))};
    const node = el('section', {class: 'card sale'},
        el('header', {}, el('h3', {}, name), badge, closes),
        bar, el('ul', {class: 'legend'}, parts.map((part, i) => el('li', {}, el('i', {class: colours[part]}), t('now.' + part) + ' ', counts[i]))),
        el('div', {class: 'figures'}, Object.values(tiles).map(one => one.node)), refusals);
    let closes_at;
    return {node, update(sale) {
        const units = {left: sale.units_left, held: sale.units_held, confirmed: sale.units_confirmed}, total = parts.reduce((all, part) => all + units[part], 0);
        badge.textContent = t(sale.fenced ? 'now.fenced' : sale.state === 'paused' ? 'now.paused' : 'now.open');
        badge.classList.toggle('on', sale.fenced || sale.state === 'paused');
        if (closes_at !== sale.closes_at) {
            closes_at = sale.closes_at;
            closes.replaceChildren(...(closes_at ? [t('now.closes_in'), countdown(closes_at)] : []));
        }
        parts.forEach((part, i) => {
            bar.children[i].style.flex = String(units[part]);
            counts[i].textContent = number(units[part]);
        });
        bar.setAttribute('aria-label', t('now.units', Object.fromEntries(parts.map(part => [part, number(units[part])]))));
        tiles.left.set(number(units.left), '', total > 0 ? t('now.of_total', {share: percent(Math.round(100 * units.left / total) / 100), total: number(total)}) : null);
        tiles.orders.set(...split(number(sale.orders_per_s, 'per_s')), t('now.sold', {n: number(sale.units_sold_per_s, 'per_s')}));
        tiles.latency.set(...split(number(sale.order_p99_ms, 'ms')), t('now.p50', {n: number(sale.order_p50_ms, 'ms')}));
        const seconds = sale.sold_out_in_s;
        tiles.out.set(units.left === 0 ? t('now.sold_out') : seconds === null ? '–' : duration(seconds * 1000), '', units.left === 0 ? null : seconds === null ? t('now.standing') : t('now.over_10s'));
        const reasons = Object.entries(sale.refusals_per_s ?? {});
        refusals.replaceChildren(...(reasons.length === 0 ? [t('now.none_refused')] :
            [t('now.why_refused'), ...reasons.flatMap(([code, n]) => [el('span', {class: 'reason'}, el('code', {}, code), ' ', el('b', {}, number(n, 'per_s'))), ' '])]));
    }};
}

function sales(desk) {
    const list = el('div', {class: 'sales'}), more = el('p', {class: 'soft'}), next = el('p', {class: 'soft'}), cards = new Map();
    const node = el('section', {}, el('header', {class: 'section-head'}, el('h2', {}, t('now.sales')), next, desk.links?.sales ? el('a', {class: 'soft', href: '#/sales'}, t('now.all_sales')) : null), list, more);
    let opening = null;
    return {node, update(state) {
        const names = state.sales.map(sale => sale.sale);
        for (const [name, card] of cards)
            if (!names.includes(name)) {
                card.node.remove();
                cards.delete(name);
            }
        for (const sale of state.sales) {
            if (!cards.has(sale.sale)) {
                cards.set(sale.sale, sale_card(sale.sale));
                list.append(cards.get(sale.sale).node);
            }
            cards.get(sale.sale).update(sale);
        }
        list.classList.toggle('none', names.length === 0);
        more.textContent = state.left_out?.sales > 0 ? t('now.more', {n: number(state.left_out.sales)}) : names.length === 0 ? t('now.no_sale') : '';
        const key = JSON.stringify(state.next_opening);
        if (key !== opening) {
            opening = key;
            const of = state.next_opening;
            next.replaceChildren(...(of ? [t('now.next', {sale: of.sale, at: moment(of.opens_at)}), countdown(of.opens_at)] : []));
        }
    }};
}

/* --- The last ten minutes. --- */

/** One point a second, the newest last; at most SPAN_S of them. */
function past() {
    const names = ['pressure', 'level', 'order_p50_ms', 'order_p99_ms'];
    let xs = [], lists = Object.fromEntries(names.map(name => [name, []])), answers = groups.map(() => []);
    return {
        get xs() { return xs; }, get lists() { return lists; }, get answers() { return answers; },
        load(history) {
            const from = new Date(history.from).getTime() / 1000, before = {xs, lists, answers};
            xs = Array.from({length: history.points}, (_, i) => from + i * history.step_s);
            lists = Object.fromEntries(names.map(name => [name, [...history[name]]]));
            answers = groups.map(() => new Array(history.points).fill(0));
            for (const [code, points] of Object.entries(history.answers))
                points.forEach((n, i) => answers[by_group({[code]: 1}).indexOf(1)][i] += n ?? 0);
            /* What came by the stream since. */
            before.xs.forEach((x, i) => {
                if (x > (xs.at(-1) ?? 0) + 0.5)
                    this.push(x, Object.fromEntries(names.map(name => [name, before.lists[name][i]])), before.answers.map(list => list[i]));
            });
        },
        push(x, values, sums) {
            xs.push(x);
            names.forEach(name => lists[name].push(values[name] ?? null));
            sums.forEach((n, i) => answers[i].push(n));
            while (xs.length > 1 && xs[0] < x - SPAN_S)
                [xs, ...Object.values(lists), ...answers].forEach(list => list.shift());
        },
    };
}

function charts(kept, span_s = SPAN_S) {
    const note = t('now.last', {n: duration(span_s * 1000)});
    const made = {
        answers: chart({title: t('now.chart_answers'), unit: 'per_s', stacked: true, height: 190, span_s, note, series: groups.map(group => ({label: t('group_of.' + group.name), colour: group.colour}))}),
        latency: chart({title: t('now.chart_latency'), unit: 'ms', height: 140, span_s, note, series: [{label: t('now.p99'), colour: 'ink', area: true}, {label: 'p50', colour: 'soft', dashed: true}]}),
        pressure: chart({title: t('now.chart_pressure'), height: 140, span_s, note, series: [{label: t('now.pressure_line'), colour: 'ink', area: true}, {label: t('now.level_line'), colour: 'accent'}]}),
    };
    const node = el('div', {class: 'charts'}, Object.values(made).map(one => el('div', {class: 'card' + (one === made.answers ? ' whole' : '')}, one.node)));
    return {node, draw() {
        made.answers.set(kept.xs, kept.answers);
        made.latency.set(kept.xs, [kept.lists.order_p99_ms, kept.lists.order_p50_ms]);
        made.pressure.set(kept.xs, [kept.lists.pressure, kept.lists.level]);
    }, end: () => Object.values(made).forEach(one => one.end())};
}

/* --- Signals and gateways. --- */

function signal_value(value, unit) {
    return unit === 'share' ? percent(value) : number(value, {'1/s': 'per_s', ms: 'ms', requests: 'requests'}[unit]);
}

/** `rules`: of the overload document: unit and threshold of each; null until it was read. */
function signals() {
    const body = el('tbody', {}), rows = new Map();
    const head = [['now.signal'], ['now.value', 'number'], ['now.threshold', 'number'], ['now.share']];
    const node = el('section', {class: 'card'}, el('h2', {}, t('now.signals')),
        wide(t('now.signals'), el('table', {}, el('thead', {}, el('tr', {}, head.map(([key, kind]) => el('th', {scope: 'col', class: kind}, t(key))))), body)));
    const make = name => {
        const cells = {value: el('td', {class: 'number'}), threshold: el('td', {class: 'number'}), bar: el('i', {}), share: el('span', {})};
        body.append(el('tr', {}, el('th', {scope: 'row'}, el('code', {}, name)), cells.value, cells.threshold, el('td', {class: 'share'}, el('div', {class: 'bar'}, cells.bar), cells.share)));
        return cells;
    };
    return {node, update(state, rules) {
        for (const [name, {value, share}] of Object.entries(state.signals)) {
            if (!rows.has(name))
                rows.set(name, make(name));
            const cells = rows.get(name), rule = rules?.[name];
            cells.value.textContent = signal_value(value, rule?.unit);
            cells.threshold.textContent = rule?.threshold > 0 ? signal_value(rule.threshold, rule.unit) : '–';
            cells.bar.style.width = Math.min(100, 100 * (share ?? 0)) + '%';
            cells.bar.className = share >= 1 ? 'full' : 'ink';
            cells.share.textContent = percent(share);
        }
    }};
}

function gateways() {
    const body = el('tbody', {}), more = el('p', {class: 'soft'});
    const head = ['now.gateway', 'now.state', 'now.heartbeat'];
    const node = el('section', {class: 'card'}, el('h2', {}, t('now.gateways')),
        wide(t('now.gateways'), el('table', {}, el('thead', {}, el('tr', {}, head.map(key => el('th', {scope: 'col'}, t(key))))), body)), more);
    return {node, update(state) {
        body.replaceChildren(...state.gateways.map(one => el('tr', {}, el('th', {scope: 'row'}, el('code', {}, one.gateway)),
            el('td', {}, el('span', {class: one.alive ? 'badge' : 'badge on'}, t(one.alive ? 'now.alive' : 'now.silent')), ' ', [one.this && t('now.this'), one.leads && t('now.leads')].filter(Boolean).join(' · ')),
            el('td', {}, one.this ? '–' : t('now.ago', {n: number(one.heartbeat_age_ms, 'ms')})))));
        more.textContent = state.left_out?.gateways > 0 ? t('now.more', {n: number(state.left_out.gateways)}) : '';
    }};
}

/* --- The page. --- */

export function show_now(root, ctx, desk) {
    const kept = past(), as_of = el('p', {class: 'soft'});
    const parts = {figures: figures(), not_normal: not_normal(desk), sales: sales(desk), charts: charts(kept, desk.span_s), signals: signals(), gateways: gateways()};
    const crowd = desk.crowd?.();
    let rules = null, loading = false, last_ms = 0, ended = false;

    root.append(el('header', {class: 'section-head'}, el('h1', {}, t('nav.now')), as_of), crowd?.node ?? '',
        parts.not_normal.node, parts.figures.node, parts.sales.node, parts.charts.node, el('div', {class: 'pair'}, parts.signals.node, parts.gateways.node));
    const load = async () => {
        if (loading || !desk.history)
            return;
        loading = true;
        try {
            const overload = await desk.history();
            if (ended)
                return;
            rules = overload.signals;
            kept.load(overload.history);
            parts.charts.draw();
        } catch { /* the stream says whether the gateway is reached; the next gap asks again */
            last_ms = 0;
        } finally {
            loading = false;
        }
    };
    const update = state => {
        const at_ms = new Date(state.at).getTime();
        if (at_ms - last_ms > 3000) /* the first, or some are missing */
            load();
        last_ms = at_ms;
        kept.push(at_ms / 1000, state, by_group(state.answers_per_s));
        as_of.textContent = t('now.as_of', {gateway: state.gateway, version: state.version, at: moment(state.at)}) + (state.scope?.units === 'cluster' ? ' ' + t('now.scope') : '');
        parts.figures.update(state);
        parts.not_normal.update(state);
        parts.sales.update(state);
        parts.signals.update(state, rules);
        parts.gateways.update(state);
        parts.charts.draw();
    };
    const leave = ctx.events.subscribe(update);
    return () => {
        ended = true;
        leave();
        parts.charts.end();
        crowd?.end();
    };
}
