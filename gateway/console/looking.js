// Looks at the gateway every few seconds, and draws what has changed without losing the focus.
import {ApiError} from './api.js';
import {say_error, table} from './dom.js';

const LOOK_EVERY_MS = 5000;

/** A table of rows that have a cell for each column, by the column's key. */
export function cells_table(columns, rows) {
    return table(columns.map(({key, title, numeric}) => ({title, number: numeric, cell: row => row[key]})), rows);
}

/** Calls `look` now and then every few seconds while the page is seen, until the returned function is called. */
export function keep_looking(look, every_ms = LOOK_EVERY_MS) {
    const stopped = new AbortController();
    const run = async () => {
        while (!stopped.signal.aborted) {
            try {
                if (!document.hidden)
                    await look(stopped.signal);
            } catch (error) {
                if (!stopped.signal.aborted && !(error instanceof ApiError && error.status === 0))
                    say_error(error);
            }
            await new Promise(resolve => setTimeout(resolve, every_ms));
        }
    };
    run();
    return () => stopped.abort();
}

/** Puts a node in the place of a box's content, and the focus back to the same link or button. */
export function put_again(place, node) {
    const focused = place.contains(document.activeElement) ? document.activeElement : null;
    const key = focused && (focused.id || focused.getAttribute('href') || focused.getAttribute('aria-label'));
    place.replaceChildren(node);
    if (key)
        [...place.querySelectorAll('a, button, summary, input')].find(one => [one.id, one.getAttribute('href'), one.getAttribute('aria-label')].includes(key))?.focus();
}
