-- wrk: POST with a JSON body. BENCH_USERS=one: always the same user; else every request is a new user.
local one = os.getenv("BENCH_USERS") == "one"
local body = '{"sku":"rehearsal","quantity":1}'
local prefix = os.getenv("BENCH_PREFIX") or "u"
local thread_count = 0
local count = 0

function setup(thread)
    thread:set("id", thread_count)
    thread_count = thread_count + 1
end

function init(args)
    wrk.method = "POST"
    wrk.body = body
    wrk.headers["Content-Type"] = "application/json"
    wrk.headers["X-User-Id"] = prefix .. "-one"
    fixed = wrk.format()
end

function request()
    if one then return fixed end
    count = count + 1
    wrk.headers["X-User-Id"] = prefix .. id .. "-" .. count
    return wrk.format()
end

-- One line that the bench reads: requests, seconds, errors, answers that were no 2xx or 3xx, p50 and p99 in ms.
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format("BENCH %d %.6f %d %d %.4f %.4f\n", summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.timeout,
        e.status, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
