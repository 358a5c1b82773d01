/* A stream of events (text/event-stream) by fetch, which can carry a token; it comes back by itself.
 *
 *   open_stream({path, headers: () => ({…}), on_refused: status => …})
 *     -> {subscribe(fn) -> unsubscribe, last, watch(fn) -> unwatch, close()}
 *   subscribe: fn(data) for each event but `end`, and at once for the last one
 *   watch: fn({live, since, why}) after each change, and once a second while the stream is silent;
 *     since: ms since 1970 by this browser's clock of the last event, or null; why: what the gateway said
 *   on_refused: a status that trying again will not mend (401, 403); the stream is closed */
const SILENT_MS = 2200; /* an event comes each second */
const DEAD_MS = 6000;   /* nothing will come any more by this connection */
const AGAIN_MS = 700;

export function open_stream({path, headers = () => ({}), on_refused = () => {}}) {
    const subscribers = new Set(), watchers = new Set(), stream = {last: null};
    let live = null, since = null, began = Date.now(), why = null, closed = false, controller = null;

    const tell = () => watchers.forEach(fn => fn({live: live === true, since, why}));
    const set_live = now => {
        if (live !== now || !now) {
            live = now;
            tell();
        }
    };
    const take = text => {
        const lines = text.split(/\r?\n/);
        const data = lines.find(line => line.startsWith('data:'));
        if (data === undefined || lines.includes('event: end')) /* the next answer's status says why */
            return;
        stream.last = JSON.parse(data.slice(5));
        since = Date.now();
        why = null;
        subscribers.forEach(fn => fn(stream.last));
        set_live(true);
    };
    const read = async response => {
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let rest = ''; ;) {
            const {value, done} = await reader.read();
            if (done)
                return;
            const parts = (rest + value).split(/\r?\n\r?\n/);
            rest = parts.pop();
            parts.forEach(take);
        }
    };
    const run = async () => {
        while (!closed) {
            controller = new AbortController();
            began = Date.now();
            try {
                const response = await fetch(path, {headers: {Accept: 'text/event-stream', ...headers()}, signal: controller.signal,
                    cache: 'no-store', credentials: 'omit', redirect: 'error', referrerPolicy: 'no-referrer'});
                if (response.ok)
                    await read(response);
                else if ([401, 403].includes(response.status)) {
                    stream.close();
                    on_refused(response.status);
                } else
                    why = (await response.json()).detail ?? null;
            } catch { /* not reached, or cut: again */ }
            if (!closed)
                await new Promise(resolve => setTimeout(resolve, AGAIN_MS));
        }
    };
    const guard = setInterval(() => {
        const silent = Date.now() - (since ?? began);
        if (silent > SILENT_MS)
            set_live(false);
        if (Date.now() - Math.max(since ?? 0, began) > DEAD_MS)
            controller?.abort();
    }, 250);

    Object.assign(stream, {
        subscribe(fn) {
            subscribers.add(fn);
            if (stream.last !== null)
                fn(stream.last);
            return () => subscribers.delete(fn);
        },
        watch(fn) {
            watchers.add(fn);
            return () => watchers.delete(fn);
        },
        close() {
            closed = true;
            clearInterval(guard);
            controller?.abort();
            stream.last = null;
        },
    });
    run();
    return stream;
}
