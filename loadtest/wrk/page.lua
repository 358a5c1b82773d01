-- wrk: the same GET again and again, such as the status page of a sale.
--   wrk -t1 -c256 -d10s -s loadtest/wrk/page.lua http://127.0.0.1:8080/v1/sales/SALE
-- The last line is that of sale.lua.
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format("WRK %d %.6f %d %d %.4f %.4f\n", summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.timeout,
        e.status, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
