// k6: buyers of one sale, open loop: RATE new buyers a second, whether or not earlier ones have their answer. README.md has the variables.
//   k6 run -e SALE=NAME -e RATE=2000 -e DURATION=10s loadtest/k6/sale.js
import { fail } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Rate } from 'k6/metrics';

const PUBLIC = __ENV.PUBLIC || 'http://127.0.0.1:8080';
const SKU = __ENV.SKU || 'rehearsal';
const RATE = Number(__ENV.RATE || 1000);
const PREFIX = __ENV.PREFIX || `k6-${Date.now()}-`;
const P99_MS = Number(__ENV.P99_MS || 250);

// What k6 reports by answer. A code that is not here counts as `other`.
const NAMES = ['accepted', 'pending', 'replayed', 'sold_out', 'user_rate', 'ip_rate', 'sale_rate', 'global_rate', 'shed', 'log_backlog', 'other'];
const answers = Object.fromEntries(NAMES.map((name) => [name, new Counter(`answer_${name}`)]));
const unanswered = new Rate('unanswered');

export const options = {
    scenarios: {
        sale: {
            executor: 'constant-arrival-rate',
            rate: RATE,
            timeUnit: '1s',
            duration: __ENV.DURATION || '10s',
            preAllocatedVUs: Number(__ENV.BUYERS || 500),
        },
    },
    // Exit status 99 when one of them is crossed. Dropped iterations are clicks that k6 itself could not make: then it measures itself.
    thresholds: {
        http_req_duration: [`p(99)<${P99_MS}`],
        unanswered: ['rate<=0.001'],
        dropped_iterations: ['count==0'],
    },
    summaryTrendStats: ['count', 'min', 'med', 'p(90)', 'p(99)', 'max'],
};

// A "no" is an answer. What counts as failed is a 5xx, or none.
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 499 }));

export function setup() {
    if (!__ENV.SALE) fail('say which sale: k6 run -e SALE=NAME …');
    const page = http.get(`${PUBLIC}/v1/sales/${__ENV.SALE}`);
    if (page.status !== 200) fail(`${PUBLIC}/v1/sales/${__ENV.SALE} answered ${page.status || page.error}, not 200: is this a sale of this gateway?`);
}

// The codes of one answer are few, so that the body is searched, not parsed.
function nameOf(response) {
    if (response.headers['Idempotency-Replayed']) return 'replayed';
    const found = /"(?:state|code)":\s*"([a-z_]+)"/.exec(response.body);
    return found && answers[found[1]] ? found[1] : 'other';
}

export default function () {
    const user = PREFIX + exec.scenario.iterationInTest;
    const response = http.post(`${PUBLIC}/v1/sales/${__ENV.SALE}/orders`, JSON.stringify({ sku: SKU, quantity: 1 }), {
        headers: { 'Content-Type': 'application/json', 'X-User-Id': user, 'Idempotency-Key': `"${user}"` },
        timeout: __ENV.TIMEOUT || '10s',
    });
    unanswered.add(response.status === 0);
    if (response.status !== 0) answers[nameOf(response)].add(1);
}
