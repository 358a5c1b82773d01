-- wrk: the same GET again and again.
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format("BENCH %d %.6f %d %d %.4f %.4f\n", summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.timeout,
        e.status, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
