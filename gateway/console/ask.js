// Asks for a reason, and for what else an action needs, in a dialog. The gateway judges what is typed.
import {dialog, el} from './dom.js';
import {t} from './words.js';

const REASON_MAX = 256;

function field_of(one, id) {
    const describedby = one.hint ? `${id}-hint` : null;
    const more = {id, name: one.name, required: one.required, 'aria-describedby': describedby};
    const control = one.options
        ? el('select', more, one.options.map(({value, label}) => el('option', {value, selected: value === one.value}, label)))
        : el('input', {...more, type: one.check ? 'checkbox' : 'text', value: one.check ? null : one.value ?? '', checked: one.check && one.value === true,
                       autocomplete: 'off', inputmode: one.number ? 'numeric' : null, maxlength: one.max});
    return {one, control, node: el('div', {class: 'field'}, el('label', {for: id}, one.label), control,
                                   one.hint && el('p', {class: 'hint', id: `${id}-hint`}, one.hint))};
}

function value_of({one, control}) {
    const text = one.check ? '' : control.value.trim();
    return one.check ? control.checked : text === '' ? undefined : one.number && Number.isFinite(Number(text)) ? Number(text) : text;
}

/* fields: [{name, label, hint, value, required, number, check, options: [{value, label}], max}]
 * -> {reason, NAME: value…}, those left empty not among them; null: cancelled. */
export function ask({title, text, content, fields = [], danger, reason = true, button}) {
    const all = [...fields, ...(reason ? [{name: 'reason', label: t('ask.reason'), hint: t('ask.reason.hint'), required: true, max: REASON_MAX}] : [])]
        .map((one, i) => field_of(one, `ask-${i}`));
    const complaint = el('p', {class: 'fault', role: 'alert'});
    const take = () => {
        const lacking = all.find(({one, control}) => one.required && !one.check && control.value.trim() === '');
        if (lacking) {
            complaint.textContent = t('ask.missing', {name: lacking.one.label});
            lacking.control.setAttribute('aria-invalid', 'true');
            lacking.control.focus();
            return undefined;
        }
        return Object.fromEntries(all.map(one => [one.one.name, value_of(one)]).filter(([, value]) => value !== undefined));
    };
    return dialog(title, el('div', {class: 'ask'}, text && el('p', {}, text), content, all.map(one => one.node), complaint),
                  [{label: t('ask.cancel'), value: null}, {label: button ?? title, value: take, kind: danger ? 'danger' : 'primary'}]);
}
