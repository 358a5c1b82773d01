// Watches: what this gateway has lately answered to one buyer.
import {call} from './api.js';
import {ask} from './ask.js';
import {countdown, el, moment, notice, number, say_error} from './dom.js';
import {cells_table, keep_looking, put_again} from './looking.js';
import {may} from './router.js';
import {t} from './words.js';

function path_of(user) {
    return `/admin/v1/watches/${encodeURIComponent(user)}`;
}

async function set_watch(ctx, user) {
    const answer = await ask({title: t('watches.set'), text: t('watches.set.text'), fields: [
        ...(user === undefined ? [{name: 'user', label: t('explain.user'), required: true, max: 128}] : []),
        {name: 'ttl_s', label: t('watches.ttl'), hint: t('watches.ttl.hint'), number: true, required: true, value: '600'}]});
    if (answer === null)
        return;
    const {user: who = user, ...body} = answer;
    try {
        await call('PUT', path_of(who), {body});
        notice('ok', t('watches.is_set', {user: who}));
        ctx.go(`watches/${encodeURIComponent(who)}`);
    } catch (error) {
        say_error(error);
    }
}

async function end_watch(ctx, user) {
    const answer = await ask({title: t('watches.end'), text: t('watches.end.text', {user})});
    if (answer === null)
        return;
    try {
        await call('DELETE', path_of(user), {body: answer});
        notice('ok', t('watches.ended', {user}));
        ctx.go('watches');
    } catch (error) {
        say_error(error);
    }
}

function watches_table(watches, again) {
    return cells_table([{key: 'user', title: t('explain.user')}, {key: 'left', title: t('override.left')}, {key: 'by', title: t('override.by')}, {key: 'reason', title: t('ask.reason')}],
                 watches.map(one => ({key: one.user, user: el('a', {href: `#/watches/${encodeURIComponent(one.user)}`}, el('code', {}, one.user)), left: countdown(one.until, again),
                     by: [el('code', {}, one.by), ' ', moment(one.since)], reason: one.reason || '–'})));
}

function show_list(root, ctx) {
    const place = el('div', {class: 'card list'});
    let shown = '';
    const look = async signal => {
        const {watches} = (await call('GET', '/admin/v1/watches', {signal})).body;
        if (signal?.aborted || JSON.stringify(watches) === shown)
            return;
        shown = JSON.stringify(watches);
        put_again(place, watches.length > 0 ? watches_table(watches, () => look().catch(say_error)) : el('p', {class: 'soft'}, t('watches.none')));
    };
    root.append(...[el('h1', {}, t('nav.watches')), el('p', {class: 'soft'}, t('watches.about')),
                    may(ctx.role, 'operator') && el('div', {class: 'commands'}, el('button', {type: 'button', class: 'primary', onclick: () => set_watch(ctx)}, t('watches.set'))), place].filter(Boolean));
    return keep_looking(look);
}

function verdicts_table(verdicts) {
    return cells_table([{key: 'at', title: t('explain.at')}, {key: 'verdict', title: t('watches.verdict')}, {key: 'request', title: t('watches.request')}, {key: 'sale', title: t('kind.sale')},
                  {key: 'rule', title: t('explain.rule')}, {key: 'took', title: t('watches.took'), numeric: true}, {key: 'request_id', title: 'request_id'}],
                 verdicts.map(one => ({key: one.seq, at: moment(one.at), verdict: el('span', {class: `badge ${one.status < 400 ? '' : 'on'}`}, el('code', {}, one.verdict), ` ${one.status}`),
                     request: el('code', {}, `${one.method} ${one.path}`), sale: one.sale && el('code', {}, one.sale), rule: one.rule && el('code', {}, one.rule),
                     took: number(one.took_us, 'us'), request_id: el('code', {class: 'long'}, one.request_id)})));
}

function show_watch(root, ctx) {
    const [user] = ctx.parts, place = el('div', {class: 'card list'});
    let shown = '';
    const look = async signal => {
        const watch = (await call('GET', path_of(user), {signal})).body;
        if (signal?.aborted || JSON.stringify(watch) === shown)
            return;
        shown = JSON.stringify(watch);
        put_again(place, el('div', {}, el('p', {}, t('watches.at', {gateway: watch.gateway}), ' ', countdown(watch.until, () => ctx.go('watches')), ' · ', watch.reason),
            watch.verdicts.length > 0 ? verdicts_table(watch.verdicts) : el('p', {class: 'soft'}, t('watches.nothing'))));
    };
    root.append(...[el('p', {class: 'back'}, el('a', {href: '#/watches'}, `← ${t('nav.watches')}`)), el('h1', {}, t('watches.of'), ' ', el('code', {}, user)),
                    may(ctx.role, 'operator') && el('div', {class: 'commands'}, el('button', {type: 'button', onclick: () => set_watch(ctx, user)}, t('watches.longer')),
                        el('button', {type: 'button', onclick: () => end_watch(ctx, user)}, t('watches.end'))), place].filter(Boolean));
    return keep_looking(look, 2000);
}

export function show(root, ctx) {
    return ctx.parts.length === 0 ? show_list(root, ctx) : show_watch(root, ctx);
}
