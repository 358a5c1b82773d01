-- wrk: buyers of one sale. Each request is an order of another user, unless SALE_USERS=one. README.md has the variables.
--   SALE_ANSWERS=0 SALE_USERS=many wrk -t1 -c256 -d10s -s loadtest/wrk/sale.lua http://127.0.0.1:8080/v1/sales/SALE/orders
-- SALE_ANSWERS=0 leaves the counting of answers out: wrk calls Lua for each of them, which costs it a sixth of its speed.
local body = string.format('{"sku":"%s","quantity":1}', os.getenv("SALE_SKU") or "rehearsal")
local prefix = os.getenv("SALE_PREFIX") or ("wrk-" .. os.time() .. "-")
local one = os.getenv("SALE_USERS") == "one"
local threads = {}
local count = 0

function setup(thread)
    thread:set("id", #threads)
    table.insert(threads, thread)
end

function init(args)
    answers = {}
    wrk.method = "POST"
    wrk.body = body
    wrk.headers["Content-Type"] = "application/json"
    wrk.headers["X-User-Id"] = prefix .. "one"
    fixed = wrk.format()
end

function request()
    if one then return fixed end
    count = count + 1
    wrk.headers["X-User-Id"] = prefix .. id .. "-" .. count
    return wrk.format()
end

if os.getenv("SALE_ANSWERS") ~= "0" then
    -- A repeat counts as replayed, another 202 by the order's state, any other answer by its code: accepted, pending, sold_out, global_rate ...
    function response(status, headers, text)
        local name = headers["Idempotency-Replayed"] and "replayed" or status == 202 and text:match('"state":%s*"([%w_]+)"') or text:match('"code":%s*"([%w_]+)"') or "http_" .. status
        answers[name] = (answers[name] or 0) + 1
    end
end

-- One line for each answer that came, then one for programs: requests, seconds, requests without an answer, answers that were no 2xx or 3xx,
-- p50 and p99 in ms.
function done(summary, latency, requests)
    local all = {}
    for _, thread in ipairs(threads) do
        for name, n in pairs(thread:get("answers") or {}) do all[name] = (all[name] or 0) + n end
    end
    for name, n in pairs(all) do io.write(string.format("ANSWER %s %d\n", name, n)) end
    local e = summary.errors
    io.write(string.format("WRK %d %.6f %d %d %.4f %.4f\n", summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.timeout,
        e.status, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
