/* Numbers with their units, times with their moment; dom.js passes all of this on.
 *
 *   number(12345, 'per_s')   "12,345 /s"     units: the keys unit.… below; without one the number
 *   percent(0.314)           "31 %"
 *   duration(ms)             "4 min 10 s"
 *   moment(time)             "20:01:07", with the day unless it is today; `time`: RFC 3339 or ms
 *   now()                    ms since 1970 by the gateway's clock, which set_clock() has told
 *
 * What is not known (null, undefined, NaN) is "–". */
import {add_words, t, tag} from './words.js';

add_words({
    'unit.ms': {en: '{n} ms', zh: '{n} 毫秒'},
    'unit.s': {en: '{n} s', zh: '{n} 秒'},
    'unit.min': {en: '{n} min', zh: '{n} 分'},
    'unit.h': {en: '{n} h', zh: '{n} 小时'},
    'unit.d': {en: '{n} d', zh: '{n} 天'},
    'unit.per_s': {en: '{n} /s', zh: '{n} /秒'},
    'unit.units': {en: '{n} units', zh: '{n} 件'},
    'unit.requests': {en: '{n} requests', zh: '{n} 个请求'},
    'unit.orders': {en: '{n} orders', zh: '{n} 个订单'},
});

const NONE = '–';
let ahead_ms = 0; /* the gateway's clock is so far ahead of this one */

export function set_clock(gateway_ms) {
    if (Number.isFinite(gateway_ms))
        ahead_ms = gateway_ms - Date.now();
}

export function now() {
    return Date.now() + ahead_ms;
}

function digits(value) {
    const size = Math.abs(value);
    const options = size >= 100 || Number.isInteger(value) ? {maximumFractionDigits: 0} : {maximumSignificantDigits: 3};
    return value.toLocaleString(tag(), options);
}

export function number(value, unit) {
    if (value === null || value === undefined || !Number.isFinite(value))
        return NONE;
    return unit ? t('unit.' + unit, {n: digits(value)}) : digits(value);
}

export function percent(share) {
    return Number.isFinite(share ?? NaN) ? digits(Math.round(share * 1000) / 10) + ' %' : NONE;
}

/** In the two largest units, rounded up to a whole second, so that a countdown ends at 0. */
export function duration(ms) {
    if (!Number.isFinite(ms ?? NaN))
        return NONE;
    const s = Math.max(0, Math.ceil(ms / 1000));
    const parts = [['d', Math.floor(s / 86400)], ['h', Math.floor(s / 3600) % 24], ['min', Math.floor(s / 60) % 60], ['s', s % 60]];
    const first = parts.findIndex(([, n]) => n > 0);
    return first < 0 ? number(0, 's') : parts.slice(first, first + 2).filter(([, n], i) => i === 0 || n > 0).map(([unit, n]) => number(n, unit)).join(' ');
}

export function moment(time) {
    const at = new Date(time ?? NaN);
    if (isNaN(at))
        return NONE;
    const clock = {hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23'};
    const today = at.toDateString() === new Date(now()).toDateString();
    return at.toLocaleString(tag(), today ? clock : {...clock, year: 'numeric', month: 'short', day: 'numeric'});
}
