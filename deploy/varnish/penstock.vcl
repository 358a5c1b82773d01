# Varnish in front of the nginx or HAProxy reference, as an edge cache. The same rules hold for Fastly, whose VCL is a relative of Varnish's.
#
# It caches the status page and nothing else, and keeps it while the origin is away. It does not know who a buyer is: the proxy behind it checks the
# buyer's token and sets X-User-Id, so the client's token passes, and X-User-Id never does. A POST is sent once: Varnish repeats no request with a
# body that it has passed.
#
# Install: apt-get install varnish; copy this file to /etc/varnish/default.vcl. Adapt: the backend's address, and, if a CDN stands before it, its
# header and addresses. The proxy behind must find this machine's address in its own list of proxies (set_real_ip_from, http-request set-src).
vcl 4.1;

import std;

backend origin {
    .host = "127.0.0.1";
    .port = "8081";
    .connect_timeout = 1s;
    .first_byte_timeout = 15s;          # longest answer: 10 s in a leaky bucket, then log.ack_timeout_ms
    .between_bytes_timeout = 5s;
    # The probes of the gateway are not reachable through the proxy; a look-up without a user is answered by a gateway that runs.
    .probe = {
        .url = "/v1/orders/probe";
        .expected_response = 401;
        .interval = 1s;
        .timeout = 1s;
        .window = 3;
        .threshold = 2;
        .initial = 2;
    }
}

sub vcl_recv {
    # Who the buyer is, and where it comes from, is for this chain to say.
    unset req.http.X-User-Id;
    unset req.http.Penstock-Rehearsal;
    unset req.http.Forwarded;
    unset req.http.X-Real-IP;
    # Some shops let these change the request; a gateway would forward them.
    unset req.http.X-Host;
    unset req.http.X-Url-Scheme;
    unset req.http.X-Rewrite-URL;
    unset req.http.X-HTTP-Method;
    unset req.http.X-Original-URL;
    unset req.http.X-Forwarded-Ssl;
    unset req.http.X-Original-Host;
    unset req.http.Front-End-Https;
    unset req.http.X-Forwarded-Host;
    unset req.http.X-Forwarded-Port;
    unset req.http.X-Forwarded-Path;
    unset req.http.X-Forwarded-Proto;
    unset req.http.X-Method-Override;
    unset req.http.X-Forwarded-Prefix;
    unset req.http.X-Forwarded-Scheme;
    unset req.http.X-Forwarded-Server;
    unset req.http.X-HTTP-Host-Override;
    unset req.http.X-HTTP-Method-Override;
    set req.http.X-Forwarded-For = client.ip;
    # Varnish has normalised nothing: an odd spelling of a path is another page.
    if (req.url ~ "%|//|/\.") {
        return (synth(404));
    }
    if (req.url ~ "^/v1/sales/[A-Za-z0-9][A-Za-z0-9._-]*(\?.*)?$" && (req.method == "GET" || req.method == "HEAD")) {
        # The same for everybody: neither a query nor a made-up Host gets past the cache.
        set req.url = regsub(req.url, "\?.*$", "");
        set req.http.Host = "status";
        unset req.http.Cookie;
        unset req.http.Authorization;
        # The page is shown for another 5 s while a new one is fetched, and for a minute while the origin is away.
        if (std.healthy(req.backend_hint)) {
            set req.grace = 5s;
        }
        return (hash);
    }
    if (req.url !~ "^/v1/(sales/[^/?]+/orders|orders/[^/?]+)(\?.*)?$" || req.method !~ "^(GET|HEAD|POST|OPTIONS)$") {
        return (synth(404));
    }
    if (std.integer(req.http.Content-Length, 0) > 4096) {
        return (synth(413));
    }
    return (pass);
}

sub vcl_backend_response {
    if (bereq.uncacheable) {
        return (deliver);
    }
    # A page that was fetched to replace one that is still shown: keep that one rather than a failure.
    if (beresp.status >= 500 && bereq.is_bgfetch) {
        return (abandon);
    }
    if (beresp.status != 200 || beresp.http.Surrogate-Control !~ "max-age=[0-9]+") {
        set beresp.uncacheable = true;
        set beresp.ttl = 1s;
        return (deliver);
    }
    # Before the opening the gateway shortens these times, so that no page reaches past it.
    set beresp.ttl = std.duration(regsub(beresp.http.Surrogate-Control, "^.*max-age=([0-9]+).*$", "\1s"), 0s);
    set beresp.grace = 0s;
    if (beresp.http.Surrogate-Control ~ "stale-if-error=[0-9]+") {
        set beresp.grace = std.duration(regsub(beresp.http.Surrogate-Control, "^.*stale-if-error=([0-9]+).*$", "\1s"), 0s);
    }
    return (deliver);
}

sub vcl_deliver {
    unset resp.http.Surrogate-Control;
    unset resp.http.CDN-Cache-Control;
    unset resp.http.Penstock-Ref;
    unset resp.http.X-Varnish;
    unset resp.http.Via;
}

# No answer, or none in time: an order may have been made.
sub vcl_backend_error {
    set beresp.status = 503;
    set beresp.http.Content-Type = "application/problem+json";
    set beresp.http.Cache-Control = "no-store";
    set beresp.http.Retry-After = "1";
    synthetic("""{"type":"about:blank","title":"Service Unavailable","status":503,"code":"no_answer","detail":"No gateway answered. Ask again with the same Idempotency-Key."}""");
    return (deliver);
}

sub vcl_synth {
    set resp.http.Cache-Control = "no-store";
    set resp.body = "";
    return (deliver);
}
