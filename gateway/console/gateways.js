// The gateways of a cluster, and this one's breakers and flow.
import {call} from './api.js';
import {el, moment, number, percent, said} from './dom.js';
import {cells_table, keep_looking, put_again} from './looking.js';
import {may} from './router.js';
import {t} from './words.js';

function gateways_table(gateways) {
    return cells_table([{key: 'gateway', title: t('gateways.gateway')}, {key: 'alive', title: t('gateways.alive')}, {key: 'heartbeat', title: t('gateways.heartbeat'), numeric: true}, {key: 'leads', title: t('gateways.leads')}],
                 gateways.map(one => ({key: one.gateway, gateway: [el('code', {}, one.gateway), one.this && [' ', el('span', {class: 'badge'}, t('gateways.this'))]],
                     alive: el('span', {class: `badge ${one.alive ? '' : 'on'}`}, t(one.alive ? 'gateways.is_alive' : 'gateways.is_away')),
                     heartbeat: one.heartbeat_age_ms === null ? '–' : number(one.heartbeat_age_ms, 'ms'), leads: one.leads === null ? '–' : t(one.leads ? 'explain.yes' : 'explain.no')})));
}

function set_link(ctx, target) {
    return may(ctx.role, 'operator') && [' ', el('a', {href: `#/overrides?target=${encodeURIComponent(target)}`, 'aria-label': `${t('override.set')}: ${target}`}, t('override.set'))];
}

function breakers_table(ctx, breakers) {
    return cells_table([{key: 'name', title: t('breakers.name')}, {key: 'state', title: t('breakers.state')}, {key: 'calls', title: t('breakers.calls'), numeric: true},
                  {key: 'failures', title: t('breakers.failures'), numeric: true}, {key: 'slow', title: t('breakers.slow'), numeric: true}, {key: 'openings', title: t('breakers.openings'), numeric: true},
                  {key: 'override', title: t('breakers.override')}],
                 breakers.map(one => ({key: one.name, name: el('code', {}, one.name),
                     state: [el('span', {class: `badge ${one.state === 'closed' ? '' : 'on'}`}, el('code', {}, one.state)), ' ', moment(one.since), one.why && [' ', said(one.why)]],
                     calls: number(one.window.calls), failures: percent(one.window.failure_share), slow: percent(one.window.slow_share), openings: number(one.openings),
                     override: [one.override ? el('code', {}, one.override) : '–', set_link(ctx, `breaker:${one.name}`)]})));
}

function flow_table(ctx, flow) {
    return cells_table([{key: 'name', title: t('flow.name')}, {key: 'in_flight', title: t('flow.in_flight'), numeric: true}, {key: 'limit', title: t('flow.limit'), numeric: true},
                  {key: 'latency', title: t('flow.latency'), numeric: true}, {key: 'aim', title: t('flow.aim'), numeric: true}, {key: 'refused', title: t('flow.refused'), numeric: true}, {key: 'override', title: t('breakers.override')}],
                 flow.map(one => ({key: one.name, name: el('code', {}, one.name), in_flight: number(one.in_flight), limit: number(one.limit), latency: one.latency_ms === null ? '–' : number(one.latency_ms, 'ms'),
                     aim: number(one.aim_ms, 'ms'), refused: number(one.refused), override: [one.override === null ? '–' : number(one.override), set_link(ctx, `flow:${one.name}`)]})));
}

export function show(root, ctx) {
    const place = el('div', {class: 'card list'});
    let shown = '';
    const look = async signal => {
        const [{gateways}, {breakers}, {flow}] = (await Promise.all(['gateways', 'breakers', 'flow'].map(name => call('GET', `/admin/v1/${name}`, {signal})))).map(one => one.body);
        const text = JSON.stringify([gateways, breakers, flow]);
        if (signal.aborted || text === shown)
            return;
        shown = text;
        put_again(place, el('div', {}, gateways_table(gateways), el('h2', {}, t('breakers.title')), el('p', {class: 'soft'}, t('breakers.about')),
            breakers.length > 0 ? breakers_table(ctx, breakers) : el('p', {class: 'soft'}, t('breakers.none')),
            el('h2', {}, t('flow.title')), el('p', {class: 'soft'}, t('flow.about')), flow_table(ctx, flow)));
    };
    root.append(el('h1', {}, t('nav.gateways')), el('p', {class: 'soft'}, t('gateways.about')), place);
    return keep_looking(look);
}
