// The settings of this gateway, which only its file changes.
import {call} from './api.js';
import {el, moment} from './dom.js';
import {t} from './words.js';

function rows(value, prefix) {
    return Object.entries(value).flatMap(([name, one]) => one !== null && typeof one === 'object' && !Array.isArray(one) && Object.keys(one).length > 0
        ? rows(one, `${prefix}${name}.`) : [[prefix + name, one]]);
}

export async function show(root) {
    const {body} = await call('GET', '/admin/v1/settings');
    const list = el('dl', {class: 'card facts settings'});
    const seek = el('input', {type: 'search', id: 'seek-settings', autocomplete: 'off', oninput: () => draw()});
    const draw = () => list.replaceChildren(...rows(body.settings, '').filter(([name]) => name.includes(seek.value.trim()))
        .flatMap(([name, value]) => [el('dt', {}, el('code', {}, name)), el('dd', {}, el('code', {class: 'value'}, JSON.stringify(value)))]));
    draw();
    root.append(el('h1', {}, t('nav.settings')), el('p', {}, el('code', {}, body.gateway), ` · Penstock ${body.version} · `, t('settings.started'), ' ', moment(body.started_at)),
                el('p', {class: 'soft'}, t('settings.about')), el('div', {class: 'commands'}, el('label', {for: seek.id}, t('list.seek')), seek), list);
}
