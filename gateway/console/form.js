// A form drawn from the JSON Schema of a kind of documents. The form edits a copy of the whole document
// in place: a member that the schema does not have is listed, kept and sent. The gateway alone judges
// values, so that what somebody types is sent as it stands; its faults are shown beside their members.
import {copy, get, is_object, join, set, split, value_view} from './diff.js';
import {duration, el, moment, names, now, said} from './dom.js';
import {has_word, t} from './words.js';

let forms = 0;

// --- What the schema says. ---

function types(schema) {
    return [].concat(schema.type || []).filter(type => type !== 'null');
}

function may_be_null(schema) {
    return [].concat(schema.type || []).includes('null');
}

function shape(schema) {
    const type = types(schema)[0];

    if (schema.anyOf)
        return 'alternatives';
    if (schema.enum)
        return 'choice';
    if ('const' in schema)
        return 'constant';
    if (type === 'array')
        return schema.items && schema.items.enum && schema.uniqueItems ? 'several' : schema.items ? 'list' : 'json';
    if (type === 'object')
        return schema.properties ? 'members' : is_object(schema.additionalProperties) ? 'map' : 'json';
    return type === 'boolean' ? 'boolean' : type === undefined ? 'json' : 'text';
}

// The members of which an object has exactly one.
function alternatives(schema) {
    return (schema.oneOf || []).map(one => (one.required || [])[0]).filter(Boolean);
}

function fits(condition, value) {
    return (condition.required || []).every(name => get(value, [name]) !== undefined) &&
        Object.entries(condition.properties || {}).every(([name, of]) => get(value, [name]) === of.const);
}

// The rules that hold for this value: which members it needs, and which it cannot have.
function rules(schema, value) {
    const needed = new Set(schema.required || []), impossible = new Set();
    const ways = alternatives(schema), way = ways.find(name => get(value, [name]) !== undefined);

    for (const name of ways)
        if (name !== way)
            impossible.add(name);
    for (const rule of schema.allOf || [])
        if (fits(rule.if || {}, value)) {
            for (const name of (rule.then || {}).required || [])
                needed.add(name);
            for (const [name, of] of Object.entries((rule.then || {}).properties || {}))
                if (of === false)
                    impossible.add(name);
        }
    if (ways.length > 0 && way === undefined)
        for (const name of Object.keys(schema.properties))
            impossible.add(name);
    return {needed, impossible, way, ways};
}

function written(schema) {
    return Object.entries(schema.properties || {}).filter(([, one]) => !one.readOnly);
}

// Has it objects alone, each with the same few plain members? They are drawn as rows.
function has_rows(schema) {
    const all = written(schema).map(([, one]) => one);
    const names = all.map(one => written(one).map(([name]) => name).join());
    return all.length > 2 && names[0] !== '' && names.every(one => one === names[0]) && all.every(one => shape(one) === 'members' &&
        !may_be_null(one) && written(one).every(([, member]) => ['text', 'choice', 'boolean'].includes(shape(member))));
}

// A value to begin with, where there must be one.
function first_value(schema) {
    if ('const' in schema)
        return schema.const;
    if (schema.default !== undefined)
        return copy(schema.default);
    const by_shape = {members: {}, map: {}, json: {}, list: [], several: [], boolean: false,
                      choice: (schema.enum || [''])[0]};
    const of = shape(schema);
    if (of in by_shape)
        return copy(by_shape[of]);
    return types(schema)[0] === 'integer' || types(schema)[0] === 'number' ? schema.minimum || 0 : '';
}

function bounds(schema) {
    const number = value => new Intl.NumberFormat('en').format(value);
    const parts = [];

    if (schema.minimum !== undefined && schema.maximum !== undefined)
        parts.push(`${number(schema.minimum)} – ${number(schema.maximum)}`);
    else if (schema.minimum !== undefined)
        parts.push(`≥ ${number(schema.minimum)}`);
    if (schema.maxLength !== undefined)
        parts.push(t('form.characters', {max: schema.maxLength}));
    if (schema.maxItems !== undefined)
        parts.push(t('form.items', {min: schema.minItems || 0, max: schema.maxItems}));
    if (schema.default !== undefined)
        parts.push(t('form.default', {value: JSON.stringify(schema.default)}));
    else if (schema.examples)
        parts.push(t('form.example', {value: JSON.stringify(schema.examples[0])}));
    if (may_be_null(schema) && shape(schema) === 'text')
        parts.push(t('form.empty_null'));
    return parts;
}

// What stands below a control, but for what is said above all rows.
function hints(schema, above = []) {
    return [schema.description, ...bounds(schema)].filter(text => text && !above.includes(text));
}

function unit_view(unit) {
    return el('span', {class: 'unit'}, has_word('unit.of_' + unit) ? t('unit.of_' + unit) : unit);
}

// --- Controls. ---

// What stands for an empty input.
function empty_value(schema, needed) {
    return may_be_null(schema) ? null : needed ? '' : undefined;
}

function typed_value(schema, text, needed) {
    const kinds = types(schema);

    if (text === '')
        return empty_value(schema, needed);
    if ((kinds.includes('integer') || kinds.includes('number')) && text.trim() !== '' && Number.isFinite(Number(text)))
        return Number(text);
    return text;
}

// What a control has beside its value: {form, schema, parts, id, describedby, needed}.
function attributes(of, more) {
    return {id: of.id, 'aria-describedby': of.describedby, 'aria-required': of.needed ? 'true' : null, ...more};
}

// A time as this place has it, and how far it is away.
function local_time(text) {
    const ahead = Date.parse(text) - now();
    return t(ahead < 0 ? 'form.time_past' : 'form.time_ahead', {at: moment(text), left: duration(Math.abs(ahead))});
}

function text_control(of, value) {
    const {form, schema, parts} = of;
    const shown = value === undefined || value === null ? '' : String(value);
    const is_long = schema.maxLength >= 2048 || shown.includes('\n');
    const list = form.names_of(parts[parts.length - 1], of.id);
    const here = schema.format === 'date-time' && el('output', {class: 'soft', for: of.id});
    const say = text => here && (here.textContent = Number.isNaN(Date.parse(text)) ? '' : local_time(text));
    const oninput = event => {
        form.change(parts, typed_value(schema, event.target.value, of.needed));
        say(event.target.value);
    };
    const control = is_long
        ? el('textarea', attributes(of, {rows: '4', spellcheck: 'false', oninput}), shown)
        : el('input', attributes(of, {type: 'text', value: shown, autocomplete: 'off', spellcheck: 'false', oninput,
                                      inputmode: types(schema).includes('integer') && !types(schema).includes('string') ? 'numeric' : null,
                                      placeholder: schema.default !== undefined ? String(schema.default)
                                          : schema.format === 'date-time' ? '2030-11-11T12:00:00Z' : null,
                                      list: list && list.id}));
    say(shown);
    return [control, schema['x-unit'] && unit_view(schema['x-unit']), list, here];
}

function choice_control(of, value) {
    const {form, schema, parts} = of;
    const words = schema.enum.map(one => JSON.stringify(one));
    const known = value === undefined || schema.enum.includes(value);
    const option = (text, chosen, word) => el('option', {value: text, selected: chosen}, word);
    const absent = schema.default !== undefined ? t('form.left_out_default', {value: schema.default}) : t('form.left_out');

    return [el('select', attributes(of, {onchange: event => {
        form.change(parts, event.target.value === '' ? undefined : JSON.parse(event.target.value));
        form.draw_again(parts.slice(0, -1));
    }}), (!of.needed || value === undefined) && option('', value === undefined, absent),
               !known && option(JSON.stringify(value), true, JSON.stringify(value)),
               ...words.map((text, i) => option(text, value === schema.enum[i], String(schema.enum[i]))))];
}

function boolean_control(of, value) {
    const {form, schema, parts} = of;

    if (value !== undefined && typeof value !== 'boolean')
        return json_control(of, value);
    return [el('input', attributes(of, {type: 'checkbox', checked: value === undefined ? schema.default === true : value,
                                        onchange: event => form.change(parts, event.target.checked)}))];
}

function several_control(of, value) {
    const {form, schema, parts, id} = of;
    const have = Array.isArray(value) ? value : value === undefined ? schema.default || [] : [];
    const all = [...schema.items.enum, ...have.filter(one => !schema.items.enum.includes(one))];

    return [el('span', {id, class: 'several', role: 'group', tabindex: '-1', 'aria-describedby': of.describedby,
                        'aria-labelledby': `${id}-label`},
               ...all.map(one => el('label', {class: 'choice'}, el('input', {
                   type: 'checkbox', checked: have.includes(one), onchange: event => {
                       const now = get(form.draft, parts) || have;
                       form.change(parts, event.target.checked ? [...now, one] : now.filter(other => other !== one));
                   }}), el('code', {}, String(one)))))];
}

/** Where the JSON is broken, as far as the browser says it. */
export function no_json({message}) {
    const [, line, column] = /line (\d+) column (\d+)/.exec(message) ?? [];
    return t('form.no_json') + (line ? ' ' + t('form.no_json_at', {line, column}) : '');
}

// What has no form of its own. While the text is no JSON, nothing can be saved.
function json_control(of, value) {
    const {form, parts} = of;
    const complaint = el('span', {class: 'fault', role: 'alert'}), pointer = join(parts), typed = form.unreadable.get(pointer);

    if (typed !== undefined)
        complaint.textContent = t('form.no_json');
    return [el('textarea', attributes(of, {rows: '4', spellcheck: 'false', class: 'json', oninput: event => {
        const text = event.target.value;
        try {
            const member = text.trim() === '' ? empty_value(of.schema, false) : JSON.parse(text);
            complaint.textContent = '';
            form.change(parts, member);
        } catch (error) {
            form.unreadable.set(pointer, text);
            complaint.textContent = no_json(error);
            form.changed();
        }
    }}), typed ?? (value === undefined ? '' : JSON.stringify(value, null, 2))), complaint];
}

function constant_control(of) {
    return [el('output', attributes(of, {}), JSON.stringify(of.schema.const))];
}

const CONTROLS = {text: text_control, choice: choice_control, boolean: boolean_control, several: several_control,
                  json: json_control, constant: constant_control};

// --- Boxes: what has members of its own. ---

function button(word, of, onclick) {
    return el('button', {type: 'button', class: 'small', 'aria-label': `${t(word)}: ${of}`, onclick}, t(word));
}

function list_box({form, schema, parts}, value) {
    const items = Array.isArray(value) ? value : [];
    const places = [...items.keys()];
    // order: the old places; -1: a new item. What is no JSON yet goes with its item.
    const redraw = order => {
        const typed = [...form.unreadable], of = i => join([...parts, i]);
        form.change(parts, order.map(i => i < 0 ? first_value(schema.items) : items[i]));
        for (const [pointer, text] of typed)
            order.forEach((i, to) => is_within(pointer, of(i)) && form.unreadable.set(of(to) + pointer.slice(of(i).length), text));
        form.draw_again(parts);
    };
    const move = (i, by) => {
        const order = [...places];
        order.splice(i + by, 0, ...order.splice(i, 1));
        redraw(order);
    };
    const rows = items.map((one, i) => {
        const word = `${parts[parts.length - 1]} ${i + 1}`;
        return el('li', {}, field(form, schema.items, [...parts, i], {needed: true, word}),
                  form.editable && el('div', {class: 'row-actions'},
                      i > 0 && button('form.up', word, () => move(i, -1)),
                      i + 1 < items.length && button('form.down', word, () => move(i, 1)),
                      button('form.remove', word, () => redraw(places.filter(j => j !== i)))));
    });
    return [items.length > 0 ? el('ol', {class: 'items'}, ...rows) : el('p', {class: 'soft'}, t('form.none')),
            form.editable && (schema.maxItems === undefined || items.length < schema.maxItems) &&
                button('form.add', parts[parts.length - 1], () => redraw([...places, -1]))];
}

function map_box({form, schema, parts}, value) {
    const rows = Object.keys(is_object(value) ? value : {}).map(name => el('li', {},
        field(form, schema.additionalProperties, [...parts, name], {needed: true}),
        form.editable && button('form.remove', name, () => {
            form.change([...parts, name], undefined);
            form.draw_again(parts);
        })));
    const id = `${form.id}${join(parts)}-new`;
    const add = () => {
        const name = form.node.querySelector(`#${CSS.escape(id)}`).value.trim();
        if (name === '' || get(value, [name]) !== undefined)
            return;
        form.change([...parts, name], '');
        form.draw_again(parts);
    };
    return [rows.length > 0 ? el('ul', {class: 'items'}, ...rows) : el('p', {class: 'soft'}, t('form.none')),
            form.editable && el('div', {class: 'row-actions'}, el('label', {for: id}, t('form.new_name')),
                                el('input', {id, type: 'text', autocomplete: 'off'}), button('form.add', parts[parts.length - 1], add))];
}

function way_choice({form, schema, parts, id}, {way, ways}) {
    const choose = event => {
        const member = name => [...parts, name], remove = name => form.change(member(name), undefined);
        ways.forEach(remove);
        if (event.target.value !== '')
            form.change(member(event.target.value), first_value(schema.properties[event.target.value]));
        rules(schema, get(form.draft, parts)).impossible.forEach(remove);
        form.draw_again(parts);
    };
    return el('div', {class: 'field'}, el('label', {for: `${id}-way`}, t('form.which')),
              el('select', {id: `${id}-way`, onchange: choose},
                 way === undefined && el('option', {value: '', selected: true}, t('form.choose')),
                 ...ways.map(name => el('option', {value: name, selected: name === way}, name))));
}

function members_box(of, value) {
    const {form, schema, parts} = of;
    const have = is_object(value) ? value : {};
    const skip = parts.length === 0 ? form.skip : new Set();
    const now = rules(schema, have);
    const all = Object.entries(schema.properties).filter(([name]) => !skip.has(name));
    const wanted = all.filter(([name, one]) => !one.readOnly &&
        (form.editable ? !now.impossible.has(name) || name in have : name in have));

    return [form.editable && now.ways.length > 0 && way_choice(of, now),
            ...wanted.map(([name, one]) => field(form, one, [...parts, name], {needed: now.needed.has(name), above: of.above})),
            ...others(form, schema, have, skip)];
}

// Members that nobody writes here: of the gateway, and those that the schema lacks.
function others(form, schema, have, skip = new Set()) {
    const measured = !form.shows_measured ? [] : Object.entries(schema.properties).filter(([name, one]) => one.readOnly && name in have && !skip.has(name));
    const unknown = Object.keys(have).filter(name => !(name in schema.properties) && !skip.has(name));

    return [measured.length > 0 && el('dl', {class: 'measured', 'aria-label': t('form.read_only')},
                ...measured.flatMap(([name, one]) => [el('dt', {title: one.description}, el('code', {}, name)),
                                                      el('dd', {}, value_view(have[name]))])),
            unknown.length > 0 && el('div', {class: 'unknown'}, el('p', {}, t('form.unknown')),
                el('dl', {}, ...unknown.flatMap(name => [el('dt', {}, el('code', {}, name)),
                                                        el('dd', {}, value_view(have[name]))])))];
}

// What every row would say of a member is said once, above them.
function rows_box(of, value) {
    const {form, schema, parts} = of, rows = written(schema);
    const common = written(rows[0][1]).map(([name, one]) => [name, hints(one).filter(text => rows.every(([, row]) => hints(row.properties[name]).includes(text)))]);
    const above = common.flatMap(([, texts]) => texts);
    return [form.editable && el('dl', {class: 'hint'}, common.flatMap(([name, texts]) => texts.length > 0 ? [el('dt', {}, el('code', {}, name)), el('dd', {}, names(texts.join(' · ')))] : [])),
            el('div', {class: 'rows'}, rows.filter(([name]) => form.editable || get(value, [name]) !== undefined)
                .map(([name, one]) => field(form, one, [...parts, name], {above}))),
            ...others(form, schema, is_object(value) ? value : {})];
}

// One select names what it is; null is one of the answers.
function alternatives_box(of, value) {
    const {form, schema, parts, id} = of;
    const ways = schema.anyOf.flatMap(one => one.enum ? one.enum.map(word => ({word, is: now => now === word, to: word}))
        : one.type === 'null' ? [{word: t('form.null'), is: now => now === null, to: null}]
            : [{word: t('form.type_' + one.type), is: now => Array.isArray(now) ? one.type === 'array' : is_object(now) && one.type === 'object',
                to: first_value(one), schema: one}]);
    const way = ways.findIndex(one => one.is(value));
    const choose = event => {
        form.change(parts, event.target.value === '' ? undefined : copy(ways[Number(event.target.value)].to));
        form.draw_again(parts);
    };
    if (!form.editable)
        return way >= 0 && ways[way].schema ? BOXES[shape(ways[way].schema)]({...of, schema: ways[way].schema}, value)
            : [value_view(value)];
    return [el('select', {id: `${id}-way`, 'aria-label': of.word, onchange: choose},
               way < 0 && el('option', {value: '', selected: true}, t('form.left_out')),
               ...ways.map((one, i) => el('option', {value: String(i), selected: i === way}, one.word))),
            ...(way >= 0 && ways[way].schema ? BOXES[shape(ways[way].schema)]({...of, schema: ways[way].schema}, value) : [])];
}

const BOXES = {list: list_box, map: map_box, members: members_box, alternatives: alternatives_box};

// An object or an array that may be null has a box that says whether it is there.
function is_there(of, value) {
    const {form, schema, parts, id} = of;
    const put = event => {
        form.change(parts, event.target.checked ? first_value({...schema, default: undefined}) : null);
        form.draw_again(parts);
    };
    return el('label', {class: 'choice'}, el('input', {id: `${id}-there`, type: 'checkbox', onchange: put,
                                                      checked: value !== null && value !== undefined}), t('form.there'));
}

// --- A field. ---

function box_field(of, value) {
    const {form, schema, parts, id} = of;
    const may_lack = may_be_null(schema), box = shape(schema) === 'members' && has_rows(schema) ? rows_box : BOXES[shape(schema)];
    const here = !may_lack || value !== null && value !== undefined;
    return el('fieldset', {class: 'field box', id, 'data-pointer': join(parts), tabindex: '-1'},
              el('legend', {}, el('code', {}, of.word)), schema.description && el('p', {class: 'hint'}, names(schema.description)),
              form.editable && bounds(schema).length > 0 && el('p', {class: 'hint'}, names(bounds(schema).join(' · '))),
              el('p', {class: 'fault faults', id: `${id}-faults`}),
              may_lack && (form.editable ? is_there(of, value) : !here && value_view(value === undefined ? undefined : null)),
              ...(here ? box(of, value) : []));
}

function field(form, schema, parts, {needed, word, above}) {
    const id = form.id + join(parts);
    const value = get(form.draft, parts);
    const of = {form, schema, parts, id, needed, above, describedby: `${id}-hint ${id}-faults`,
                word: word || String(parts[parts.length - 1])};

    if (shape(schema) in BOXES)
        return box_field(of, value);
    const label = el('code', {}, of.word);
    if (!form.editable)
        return el('div', {class: 'field shown', 'data-pointer': join(parts)}, el('span', {class: 'label', title: schema.description}, label),
                  value_view(value), schema['x-unit'] && unit_view(schema['x-unit']));
    const is_group = shape(schema) === 'several' || shape(schema) === 'constant';
    const wrong = value !== null && typeof value === 'object' && !['json', 'several'].includes(shape(schema));
    return el('div', {class: 'field', 'data-pointer': join(parts)},
              el(is_group ? 'span' : 'label', is_group ? {class: 'label', id: `${id}-label`} : {for: id}, label,
                 needed && [' ', el('span', {class: 'needed'}, t('form.needed'))]),
              el('div', {class: 'control'}, ...(wrong ? json_control : CONTROLS[shape(schema)])(of, value)),
              el('p', {class: 'hint', id: `${id}-hint`}, names(hints(schema, above).join(' · '))),
              el('p', {class: 'fault faults', id: `${id}-faults`}));
}

// --- The form. ---

function is_within(pointer, box) {
    return pointer === box || pointer.startsWith(box + '/');
}

// What PUT takes: without the members that only the gateway sets. Others that the schema lacks stay.
export function outgoing(schema, value, skip = new Set()) {
    const chosen = (schema.anyOf || []).find(one => one.type === (Array.isArray(value) ? 'array' : 'object')) || schema;

    if (Array.isArray(value))
        return value.map(one => chosen.items ? outgoing(chosen.items, one) : one);
    if (!is_object(value) || !chosen.properties)
        return value;
    return Object.fromEntries(Object.entries(value)
        .filter(([name]) => !skip.has(name) && !(chosen.properties[name] || {}).readOnly)
        .map(([name, one]) => [name, name in chosen.properties ? outgoing(chosen.properties[name], one) : one]));
}

function clear_faults(node) {
    for (const one of node.querySelectorAll('.faults'))
        one.textContent = '';
    for (const one of node.querySelectorAll('[aria-invalid]'))
        one.removeAttribute('aria-invalid');
}

// Puts each fault beside the member that it names, or the nearest one around it; returns the others.
function show_faults(form, faults) {
    const others = [];
    let first = null;

    clear_faults(form.node);
    for (const fault of faults) {
        let parts = split(fault.pointer || ''), place = null;
        for (; parts.length > 0 && !place; parts = parts.slice(0, -1))
            place = form.node.querySelector(`[data-pointer="${CSS.escape(join(parts))}"]`);
        const says = place && document.getElementById(`${form.id}${place.dataset.pointer}-faults`);
        if (!says) {
            others.push(fault);
            continue;
        }
        says.append(el('span', {}, fault.pointer !== place.dataset.pointer && [el('code', {}, fault.pointer), ': '], said(fault.detail)));
        const control = document.getElementById(form.id + place.dataset.pointer);
        if (control)
            control.setAttribute('aria-invalid', 'true');
        first = first || control;
    }
    if (first)
        first.focus();
    return others;
}

function draw(form) {
    form.node.replaceChildren(...members_box({form, schema: form.schema, parts: [], id: form.id}, form.draft)
        .flat().filter(one => one instanceof Node));
}

// Draws one box anew, and leaves the focus where it was.
function draw_again(form, parts) {
    const focused = document.activeElement && document.activeElement.id;
    let at = parts;
    while (at.length > 0 && !document.getElementById(form.id + join(at)))
        at = at.slice(0, -1);
    const old = at.length > 0 && document.getElementById(form.id + join(at));
    if (old && old.matches('fieldset'))
        old.replaceWith(field(form, schema_at(form, at), at, {needed: true, word: old.querySelector('legend').textContent}));
    else
        draw(form);
    const place = focused && document.getElementById(focused);
    if (place)
        place.focus();
}

function schema_at(form, parts) {
    let schema = form.schema, value = form.draft;
    for (const part of parts) {
        if (schema.anyOf)
            schema = schema.anyOf.find(one => one.type === (Array.isArray(value) ? 'array' : 'object')) || {};
        schema = Array.isArray(value) ? schema.items || {}
            : (schema.properties || {})[part] || schema.additionalProperties || {};
        value = get(value, [part]);
    }
    return schema;
}

// options: `editable`; `skip`, names of members that the page shows itself; `shows_measured`: also those that only
// the gateway sets; `names(member)`, a promise of the names that exist for it, or null; `changed()`;
// `unreadable`, what was typed and is no JSON, by pointers: unreadable() gives it.
export function make_form(schema, value, {editable, skip = new Set(), shows_measured = true, names = () => null, changed = () => {}, unreadable = []}) {
    const form = {id: `form${++forms}`, schema, draft: copy(value), editable, skip, shows_measured, changed, unreadable: new Map(unreadable),
                  node: el('div', {class: 'form'})};

    form.change = (parts, member) => {
        if (parts.length === 0)
            form.draft = member;
        else
            set(form.draft, parts, member);
        for (const pointer of form.unreadable.keys())
            if (is_within(pointer, join(parts)))
                form.unreadable.delete(pointer);
        changed();
    };
    form.draw_again = parts => draw_again(form, parts);
    form.names_of = (member, id) => {
        const wanted = editable && names(String(member));
        if (!wanted)
            return null;
        const list = el('datalist', {id: `${id}-names`});
        wanted.then(all => list.replaceChildren(...all.map(name => el('option', {value: name})))).catch(() => {});
        return list;
    };
    draw(form);
    return {node: form.node, value: () => form.draft, is_readable: () => form.unreadable.size === 0, unreadable: () => [...form.unreadable],
            // The next value; it is drawn by set_value, when the form is looked at again.
            put(next) {
                form.draft = next;
                form.unreadable.clear();
            },
            set_value(next) {
                this.put(copy(next));
                draw(form);
            },
            show_faults: faults => show_faults(form, faults)};
}
