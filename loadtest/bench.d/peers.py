"""The log-bound crowd of overload.py, with the same gateway behind a proxy that is meant to protect it: its own controller is off then. The proxy shares the gateway's core.

- nginx: `limit_req`, nodelay, at nine tenths of the peak, which the operator must have measured, with a burst of a tenth of a second; the rest gets 429.
- envoy: the adaptive concurrency filter with the figures of its documentation's example; the rest gets 503.

All shares are of one peak: that of the gateway without a proxy."""
import json
import socket

import overload
from harness import ROOT, SERVER_CORE, start, wait_for

ENVOY = ROOT / "build" / "envoy" / "bin" / "envoy"
FILES = 20000  # connections on both sides


class Front:
    """A proxy before the gateway, with a file of settings."""

    def __init__(self, bound, penstock, peak):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.directory, self.penstock = bound.directory / f"{type(self).__name__.lower()}-{self.port}", penstock
        self.directory.mkdir()
        self.process = start([*bound.first.under(), "taskset", "-c", SERVER_CORE, *self.command(peak)], stderr=open(self.directory / "stderr", "w"))
        wait_for(lambda: socket.create_connection(("127.0.0.1", self.port), 1).close() is None, type(self).__name__)

    def stop(self):
        self.process.terminate()
        self.process.wait(15)


class Nginx(Front):
    def command(self, peak):
        here, config = self.directory, self.directory / "nginx.conf"
        rate = int(0.9 * peak)
        config.write_text(f"""
worker_processes 1; daemon off; pid "{here}/nginx.pid"; error_log "{here}/error.log" crit; worker_rlimit_nofile {FILES};
events {{ worker_connections {FILES - 100}; }}
http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path "{here}/tmp"; proxy_temp_path "{here}/tmp";
fastcgi_temp_path "{here}/tmp"; uwsgi_temp_path "{here}/tmp"; scgi_temp_path "{here}/tmp";
limit_req_zone $server_port zone=all:1m rate={rate}r/s;
upstream gateway {{ server 127.0.0.1:{self.penstock.port}; keepalive 512; keepalive_requests 1000000000; }}
server {{ listen 127.0.0.1:{self.port} backlog=4096; limit_req zone=all burst={rate // 10} nodelay; limit_req_status 429;
location / {{ proxy_pass http://gateway; proxy_http_version 1.1; proxy_set_header Connection ""; }} }} }}""")
        return ["nginx", "-c", str(config), "-e", str(here / "error.log")]


class Envoy(Front):
    def command(self, peak):
        types = "type.googleapis.com/envoy.extensions."

        def address(port):
            return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        controller = {"sample_aggregate_percentile": {"value": 90}, "concurrency_limit_params": {"concurrency_update_interval": "0.1s"},
                      "min_rtt_calc_params": {"jitter": {"value": 10}, "interval": "60s", "request_count": 50}}
        filters = [
            {"name": "adaptive_concurrency", "typed_config": {"@type": types + "filters.http.adaptive_concurrency.v3.AdaptiveConcurrency", "gradient_controller_config": controller,
                                                              "enabled": {"default_value": True, "runtime_key": "adaptive_concurrency.enabled"}}},
            {"name": "router", "typed_config": {"@type": types + "filters.http.router.v3.Router"}}]
        manager = {"@type": types + "filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "all", "http_filters": filters,
                   "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "gateway"}}]}]}}
        most = {"max_connections": 10000, "max_pending_requests": 100000, "max_requests": 100000}
        config = self.directory / "envoy.json"
        config.write_text(json.dumps({"static_resources": {
            "listeners": [{"address": address(self.port), "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}],
            "clusters": [{"name": "gateway", "connect_timeout": "5s", "circuit_breakers": {"thresholds": [most]},
                          "load_assignment": {"cluster_name": "gateway", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(self.penstock.port)}}]}]}}]}}))
        return [str(ENVOY), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]


def run(directory, quick):
    bound = overload.Bound("log_bound", directory)
    peak = overload.find_peak(bound, 3, quick)
    subjects = [("penstock", "on", None), ("penstock_without_controller", "off", None), ("nginx_limit_req", "off", Nginx), ("envoy_adaptive_concurrency", "off", Envoy)]
    if not ENVOY.exists():
        print(f"{ENVOY} is not there: the comparison is without it")
        subjects.pop()
    rows = []
    for name, controller, front in subjects:
        print(name)
        for times in (2, 10) if quick else (1, 2, 10):
            seconds = 5 if quick else 8
            report, _ = overload.offer(bound, controller, peak, times, seconds, front=front)
            rows.append({"subject": name, "times": times, **overload.figures(report, seconds, peak)})
    return {"peak": round(peak), "rows": rows}
