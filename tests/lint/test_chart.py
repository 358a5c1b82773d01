"""The chart as it is rendered: valid for Kubernetes whatever the values, and what docs/kubernetes.md says of it. What it starts is started in
tests/system/delivery."""
import http.server
import json
import pathlib
import re
import subprocess
import sys
import threading

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/helm"))
from chart import CHART, KUBE_VERSION, environment, fetched, helm, one, render, template  # noqa: E402

CLUSTER = {"replicas": 3, "config": {"store": {"kind": "redis", "redis": {"url": "redis://redis.sales:6379/0"}},
                                     "log": {"kind": "kafka", "kafka": {"brokers": "kafka.sales:9092"}}}}
SECRET = {"existingSecret": "tokens"}
BUNDLE = {"limits": {"user": {"algorithm": "token_bucket", "key": "user", "rate": 5, "period_s": 1}}}
ALL = {**CLUSTER, **SECRET, "documents": {"bundle": BUNDLE, "prune": True}, "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
       "prometheusRule": {"enabled": True, "runbookBase": "https://docs.example/"}, "dashboards": {"enabled": True}, "priorityClassName": "sale",
       "image": {"repository": "images.example/penstock", "digest": "sha256:" + "0" * 64}, "imagePullSecrets": [{"name": "registry"}],
       "podLabels": {"team": "shop"}, "podAnnotations": {"note": "a"}, "extraEnv": [{"name": "TZ", "value": "UTC"}],
       "extraVolumes": [{"name": "archive", "persistentVolumeClaim": {"claimName": "archive"}}], "extraVolumeMounts": [{"name": "archive", "mountPath": "/srv/archive"}],
       "initContainers": [{"name": "stunnel", "image": "stunnel", "restartPolicy": "Always"}], "extraContainers": [{"name": "settle", "image": "penstock"}],
       "nodeSelector": {"pool": "sale"}, "tolerations": [{"key": "sale", "operator": "Exists"}], "affinity": {"podAntiAffinity": {}},
       "service": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "annotations": {"a": "b"}},
       "storage": {"className": "fast", "size": "50Gi", "labels": {"a": "b"}, "annotations": {"c": "d"}},
       "networkPolicy": {"publicFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
                         "adminFrom": [{"namespaceSelector": {}}], "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
       "serviceAccount": {"name": "own", "annotations": {"a": "b"}}, "updateStrategy": {"type": "OnDelete"}, "test": {"twinOf": "spring", "args": ["--retry", "9"]}}
MATRIX = {
    "defaults": {}, "secret": SECRET, "cluster": CLUSTER, "all": ALL,
    "local admin": {"config": {"admin": {"host": "127.0.0.1"}}}, "IPv6": {"config": {"listen": {"host": "::"}, "admin": {"host": "::"}}},
    "least": {"podDisruptionBudget": {"enabled": False}, "networkPolicy": {"enabled": False}, "serviceAccount": {"create": False}, "resources": {}},
    "share": {**CLUSTER, "podDisruptionBudget": {"maxUnavailable": "34%"}, "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]},
    "ports": {"config": {"listen": {"port": 9000}, "admin": {"port": 9001}}, "service": {"type": "NodePort", "port": 443}},
    "a parent chart": {"global": {"anything": 1}}, "name": {"fullnameOverride": "gate"},
}
CUSTOM = {"PodMonitor", "PrometheusRule"}


def gateway(documents):
    return one(documents, "StatefulSet")["spec"]["template"]["spec"]


def settings(documents):
    """The gateways'; what is checked before an installation is the same."""
    found = [json.loads(document["data"]["penstock.json"]) for document in documents if document["kind"] == "ConfigMap" and "penstock.json" in document["data"]]
    assert found and all(one == found[0] for one in found)
    return found[0]


# --- Valid. ---

def test_what_comes_from_elsewhere_is_printed(tmp_path):
    """values.schema.json from the settings, the list of values, alerts and dashboards, the base for kustomize."""
    done = subprocess.run([CHART / "print", "--into", tmp_path], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    printed = {path.relative_to(tmp_path).as_posix(): path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()}
    assert {"chart/values.schema.json", "chart/README.md", "chart/files/penstock.rules.yml", "kustomize/base/kustomization.yaml"} <= set(printed)
    kept = {name: (ROOT / "deploy" / name).read_text(encoding="utf-8") for name in printed if (ROOT / "deploy" / name).is_file()}
    kept |= {f"chart/files/{path.relative_to(CHART / 'files')}": path.read_text(encoding="utf-8") for path in (CHART / "files").rglob("*") if path.is_file()}
    assert kept == printed, 'print them again: PATH="$(tests/helm/fetch):$PATH" deploy/chart/print'


def test_helm_finds_nothing_wrong_with_the_chart():
    status, out, err = helm("lint", CHART, "--strict", "--kube-version", KUBE_VERSION)
    assert status == 0 and "[WARNING]" not in out + err, out + err


def test_the_chart_has_the_version_of_the_project():
    version = re.search(r"project\(penstock VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version) and "dependencies" not in chart


@pytest.mark.parametrize("name", MATRIX)
def test_kubernetes_takes_what_is_rendered(tmp_path, name):
    """Strictly: a member that it does not know is a fault, too."""
    documents = render(MATRIX[name])
    for number, document in enumerate(documents):
        if document["kind"] not in CUSTOM:
            (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump(document))
    done = subprocess.run([fetched("tests/python/fetch"), "-m", "kubernetes_validate", "-k", "1.31", "--strict", "--no-warn", *tmp_path.iterdir()],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(names) == len(set(names)) and all(len(name) <= 63 for _, name in names)


@pytest.mark.parametrize("name", MATRIX)
def test_the_gateway_takes_the_settings_that_are_rendered(tmp_path, name):
    config = tmp_path / "penstock.json"
    config.write_text(json.dumps(settings(render(MATRIX[name]))))
    done = subprocess.run([ROOT / "build/dev/gateway/penstock", "--config", config, "--check-config"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_validator_would_find_a_fault(tmp_path):
    document = one(render(), "StatefulSet")
    document["spec"]["podManagementPolizy"] = "Parallel"
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(document))
    done = subprocess.run([fetched("tests/python/fetch"), "-m", "kubernetes_validate", "-k", "1.31", "--strict", tmp_path / "bad.yaml"], capture_output=True, text=True)
    assert done.returncode != 0 and "podManagementPolizy" in done.stdout + done.stderr


# --- What is promised of it. ---

def test_all_settings_pass_as_they_are():
    more = {"http": {"connections": 1000000, "idle_timeout_ms": 3600000}, "cors": {"allow_origins": ["https://shop.example"]},
            "admin": {"hosts": ["ops.example"], "token_dir": "/srv/tokens"}, "drain": {"delay_ms": 1000}}
    found = settings(render({"config": more, **SECRET}))
    assert found["http"] == more["http"] and found["cors"] == more["cors"] and found["drain"] == {"delay_ms": 1000, "timeout_ms": 25000}
    assert found["admin"]["hosts"] == ["ops.example", *(f"shop-penstock-admin{end}" for end in ("", ".sales", ".sales.svc", ".sales.svc.cluster.local"))]
    assert found["admin"]["token_dir"] == "/srv/tokens"
    assert settings(render(SECRET))["admin"]["token_dir"] == "/run/secrets/penstock" and "token_dir" not in settings(render())["admin"]


def test_a_pod_may_do_nothing_but_serve():
    for values in (ALL, SECRET):
        documents = render(values)
        specs = [gateway(documents), one(documents, "Pod")["spec"]] + [job["spec"]["template"]["spec"] for job in documents if job["kind"] == "Job"]
        for spec in specs:
            assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False
            context = spec["securityContext"]
            assert context["runAsNonRoot"] and context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 65532
            assert context["seccompProfile"] == {"type": "RuntimeDefault"} and context["fsGroupChangePolicy"] == "OnRootMismatch"
            for key in ("hostNetwork", "hostPID", "hostIPC"):
                assert key not in spec
            own = spec["containers"][0]["securityContext"]
            assert own == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def test_state_outlives_a_pod_and_gateways_start_at_once():
    for values in ({}, CLUSTER):
        stateful = one(render(values), "StatefulSet")["spec"]
        claim, = stateful["volumeClaimTemplates"]
        assert claim["spec"]["accessModes"] == ["ReadWriteOnce"] and claim["spec"]["resources"]["requests"]["storage"] == "10Gi"
        mounts = {mount["name"]: mount["mountPath"] for mount in stateful["template"]["spec"]["containers"][0]["volumeMounts"]}
        assert mounts["state"] == "/var/lib/penstock" and stateful["podManagementPolicy"] == "Parallel"
        assert stateful["replicas"] == values.get("replicas", 1)


@pytest.mark.parametrize("timeout_ms, seconds", [(25000, 35), (25500, 35), (20001, 30), (15100, 25)])
def test_the_grace_period_is_longer_than_the_longest_drain(timeout_ms, seconds):
    spec = gateway(render({"config": {"drain": {"timeout_ms": timeout_ms}}}))
    assert spec["terminationGracePeriodSeconds"] == seconds > (timeout_ms + 4500) / 1000
    assert "lifecycle" not in spec["containers"][0]


def test_the_pod_is_unready_before_a_load_balancer_would_notice_otherwise():
    """The probe notices a gateway that ends by itself well within drain.delay_ms."""
    documents = render()
    probe = gateway(documents)["containers"][0]["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] * 1000 * 2 < settings(documents)["drain"]["delay_ms"]


def test_probes_ask_the_admin_listener():
    container = gateway(render())["containers"][0]
    assert {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")} == {
        "startup": {"port": "admin", "path": "/livez"}, "liveness": {"port": "admin", "path": "/livez"}, "readiness": {"port": "admin", "path": "/readyz"}}
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] == 300


def test_where_only_the_pod_reaches_the_admin_listener_a_program_in_it_asks():
    documents = render({"config": {"admin": {"host": "127.0.0.1"}}})
    container = gateway(documents)["containers"][0]
    assert container["readinessProbe"]["exec"]["command"] == ["penstock", "--config", "/etc/penstock/penstock.json", "--probe", "ready"]
    assert container["livenessProbe"]["exec"]["command"][-1] == "live"
    assert [port["name"] for port in container["ports"]] == ["http"]
    assert "hosts" not in settings(documents)["admin"] and not [d for d in documents if d["metadata"]["name"].endswith("-admin")]


@pytest.mark.parametrize("name", MATRIX)
def test_the_admin_port_is_in_no_service_that_buyers_use(name):
    documents = render(MATRIX[name])
    public, = [d for d in documents if d["kind"] == "Service" and d["metadata"]["name"] == one(documents, "StatefulSet")["metadata"]["name"]]
    assert [port["targetPort"] for port in public["spec"]["ports"]] == ["http"]
    admin = [d for d in documents if d["kind"] == "Service" and d["metadata"]["name"].endswith("-admin")]
    assert all(d["spec"]["type"] == "ClusterIP" and d["spec"]["sessionAffinity"] == "ClientIP" for d in admin)


def test_services_and_policies_choose_gateways_and_no_jobs():
    documents = render(ALL)
    labels = one(documents, "StatefulSet")["spec"]["template"]["metadata"]["labels"].items()
    jobs = [job["spec"]["template"]["metadata"]["labels"].items() for job in documents if job["kind"] == "Job"]
    jobs.append(one(documents, "Pod")["metadata"]["labels"].items())
    assert len(jobs) == 3
    selectors = [d["spec"]["selector"] for d in documents if d["kind"] == "Service"]
    selectors += [one(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"], one(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
                  one(documents, "PodMonitor")["spec"]["selector"]["matchLabels"], one(documents, "StatefulSet")["spec"]["selector"]["matchLabels"]]
    for selector in selectors:
        assert selector.items() <= labels and not any(selector.items() <= job for job in jobs)


def test_the_network_policy_lets_nobody_to_the_admin_port_but_who_is_named():
    def rules(values):
        found = one(render(values), "NetworkPolicy")["spec"]["ingress"]
        return {rule["ports"][0]["port"]: rule.get("from") for rule in found}
    own = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "penstock", "app.kubernetes.io/instance": "shop"},
                           "matchExpressions": [{"key": "app.kubernetes.io/component", "operator": "In", "values": ["documents", "test"]}]}}
    assert rules({}) == {"http": None, "admin": [own]}
    assert rules(ALL)["admin"] == [own, *ALL["networkPolicy"]["adminFrom"]]
    assert rules(ALL)["http"][0] == ALL["networkPolicy"]["publicFrom"][0] and len(rules(ALL)["http"]) == 2  # the rehearsal, too
    assert "admin" not in rules({"config": {"admin": {"host": "127.0.0.1"}}})


def test_changed_settings_replace_the_pods_and_other_values_do_not():
    def mark(values):
        return one(render(values), "StatefulSet")["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
    assert mark({}) == mark({"replicas": 1, "storage": {"size": "20Gi"}, "documents": {"prune": True}})
    assert mark(CLUSTER) == mark({**CLUSTER, "replicas": 5})  # scaling restarts nobody
    assert mark({}) != mark({"config": {"workers": 3}})


def test_several_gateways_are_spread_over_zones_and_nodes():
    assert "topologySpreadConstraints" not in gateway(render())
    keys = [constraint["topologyKey"] for constraint in gateway(render(CLUSTER))["topologySpreadConstraints"]]
    assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_documents_are_applied_by_a_job_after_each_change():
    documents = render(ALL)
    job = one(documents, "Job", "-documents")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-upgrade,post-rollback"
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[:2] == ["penstockctl", "apply"] and "--prune" in command and "--reason=release shop, revision 1" in command
    assert json.loads(one(documents, "ConfigMap", "-documents")["data"]["bundle.json"]) == {"documents": BUNDLE}


def test_documents_with_a_fault_fail_at_once_and_leave_their_pod_and_its_log():
    """Kubernetes deletes the pod, and with it the log, of a Job that restarts its container until it gives up. Who is not there yet is asked again by
    the same pod: some networks let an address through only a moment after its pod has started, so that new pods would be refused one by one."""
    spec = one(render(ALL), "Job", "-documents")["spec"]
    wait, = [word for word in spec["template"]["spec"]["containers"][0]["command"] if word.startswith("--wait=")]
    assert spec["template"]["spec"]["restartPolicy"] == "Never" and 300 <= int(wait.partition("=")[2]) < spec["activeDeadlineSeconds"]
    rules = {rule["action"]: rule for rule in spec["podFailurePolicy"]["rules"]}
    assert rules["FailJob"]["onExitCodes"] == {"containerName": spec["template"]["spec"]["containers"][0]["name"], "operator": "In", "values": [1, 2]}
    upgrade = one(render(ALL, upgrade=True), "Job", "-documents")["spec"]
    assert upgrade["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2] and upgrade["backoffLimit"] >= 4  # a pod of the revision before may answer
    assert rules["Ignore"]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]


def test_settings_are_checked_before_a_pod_is_replaced():
    """By a job of their own, with a copy of them: the release's own ConfigMap has changed only afterwards."""
    documents = render(SECRET)
    job, copy = one(documents, "Job", "-check"), one(documents, "ConfigMap", "-check")
    for document in (job, copy):
        assert document["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade,pre-rollback"
    assert int(copy["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0 and "helm.sh/hook-weight" not in job["metadata"]["annotations"]
    spec = job["spec"]["template"]["spec"]
    assert spec["containers"][0]["command"][-1] == "--check-config" and "serviceAccountName" not in spec  # the release's is made later, too
    assert {volume["name"]: volume for volume in spec["volumes"]}["settings"]["configMap"]["name"] == copy["metadata"]["name"]


def test_prometheus_scrapes_with_a_token_and_takes_the_alerts(tmp_path):
    documents = render(ALL)
    endpoint, = one(documents, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("admin", "/metrics") and endpoint["authorization"]["credentials"] == {"name": "tokens", "key": "viewer-token"}
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump(one(documents, "PrometheusRule")["spec"]))
    done = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    shipped = yaml.safe_load((ROOT / "deploy/prometheus/penstock.rules.yml").read_text(encoding="utf-8"))
    rendered = yaml.safe_load(rules.read_text())
    assert [[rule["alert"] for rule in group["rules"]] for group in rendered["groups"]] == [[rule["alert"] for rule in group["rules"]] for group in shipped["groups"]]
    down, = [rule for group in rendered["groups"] for rule in group["rules"] if rule["alert"] == "PenstockDown"]
    assert down["expr"] == 'up{job="shop-penstock"} == 0' and down["annotations"]["runbook_url"] == "https://docs.example/docs/troubleshooting.md#penstockdown"


def test_each_dashboard_is_a_config_map():
    found = {name: text for d in render(ALL) if d["kind"] == "ConfigMap" and "grafana_dashboard" in d["metadata"]["labels"] for name, text in d["data"].items()}
    shipped = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "deploy/grafana").glob("*.json")}
    assert {name: json.loads(text) for name, text in found.items()} == shipped


def test_the_rehearsal_is_a_test_hook():
    pod = one(render(ALL), "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test" and pod["spec"]["restartPolicy"] == "Never"
    command = pod["spec"]["containers"][0]["command"]
    assert command[0] == "penstock-rehearse" and "--public=http://shop-penstock:80" in command and "--admin=http://shop-penstock-admin:8090" in command
    assert "--twin-of=spring" in command and command[-2:] == ["--retry", "9"]
    assert not [d for d in render() if d["kind"] == "Pod"]  # without a token it could do nothing


@pytest.mark.parametrize("page", ["docs/kubernetes.md", "docs/zh/kubernetes.md"])
def test_values_in_documents_render(page):
    blocks = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)]
    values = [block for block in blocks if block.get("kind") != "Kustomization"]
    assert len(values) == 3 == len(blocks) - 1
    for block in values:
        assert render({**SECRET, **block})


@pytest.mark.parametrize("page", ["docs/kubernetes.md", "docs/zh/kubernetes.md"])
def test_documents_say_what_a_helm_needs_that_knows_no_version(page):
    """One that `go install` made takes the version of a cluster that it does not ask for 1.20."""
    status, out, err = helm("template", "shop", CHART)
    assert status == 1 and out == "" and "incompatible with Kubernetes v1.20.0" in err, err
    words = re.findall(r"`helm template[^`]*`|`(--kube-version [^`]+)`", (ROOT / page).read_text(encoding="utf-8"))
    option, = [word for word in words if word]
    assert helm("template", "shop", CHART, *option.split())[0] == 0


# --- What is refused, and how. ---

REFUSED = {
    "a setting that does not exist": ({"config": {"listen": {"prot": 1}}}, ["config.listen", "prot"]),
    "a setting out of range": ({"config": {"listen": {"port": 65536}}}, ["config.listen.port", "65535"]),
    "a word that is none": ({"config": {"store": {"kind": "radis"}}}, ["config.store.kind", "redis"]),
    "a setting of another type": ({"config": {"trusted_proxies": "10.0.0.0/8"}}, ["config.trusted_proxies", "array"]),
    "a needed setting taken away": ({"config": {"drain": {"delay_ms": None}}}, ["config.drain", "delay_ms"]),
    "a value that does not exist": ({"replica": 3}, ["replica"]),
    "a size that is none": ({"storage": {"size": "ten"}}, ["storage.size"]),
    "a digest that is none": ({"image": {"digest": "latest"}}, ["image.digest"]),
    "a type of Service that is none": ({"service": {"type": "ExternalName"}}, ["service.type"]),
    "several gateways that count alone": ({"replicas": 3}, ["replicas: 3", "config.store.kind", "config.log.kind"]),
    "the volume's own root": ({"config": {"state_dir": "/var/lib/penstock"}}, ["config.state_dir", "/var/lib/penstock/state"]),
    "state outside of the volume": ({"config": {"state_dir": "/tmp/state"}}, ["config.state_dir", "not in the volume"]),
    "a listener for nobody": ({"config": {"listen": {"host": "127.0.0.1"}}}, ["config.listen.host", "0.0.0.0"]),
    "a port that nobody knows": ({"config": {"admin": {"port": 0}}}, ["config.admin.port", "name a port"]),
    "one port twice": ({"config": {"admin": {"port": 8080}}}, ["config.admin.port", "another port"]),
    "a drain that is over at once": ({"config": {"drain": {"timeout_ms": 15000}}}, ["config.drain.timeout_ms", "15000"]),
    "documents without a token": ({"documents": {"bundle": BUNDLE}}, ["existingSecret", "documents.bundle", "kubectl -n sales create secret"]),
    "a scrape without a token": ({"podMonitor": {"enabled": True}}, ["existingSecret", "podMonitor.enabled"]),
    "a scrape of loopback": ({**SECRET, "podMonitor": {"enabled": True}, "config": {"admin": {"host": "127.0.0.1"}}}, ["config.admin.host", "podMonitor.enabled"]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_wrong_value_is_refused_by_its_path(what):
    values, words = REFUSED[what]
    status, out, err = template(values)
    assert status == 1 and out == "" and all(word in err for word in words), err


SECRETS_API = {
    "/version": {"major": "1", "minor": "31", "gitVersion": "v1.31.0"}, "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [{"name": "secrets", "singularName": "", "namespaced": True, "kind": "Secret", "verbs": ["get", "list"]}]},
    "/api/v1/namespaces/sales/secrets": {"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": []},
    "/api/v1/namespaces/sales/secrets/there": {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "there", "namespace": "sales"}}}


class SecretsServer(http.server.BaseHTTPRequestHandler):
    """An API server that knows one Secret, and nothing of what the chart would install."""

    def do_GET(self):
        found = SECRETS_API.get(self.path.partition("?")[0])
        body = json.dumps(found or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_an_installation_without_its_secret_is_refused_with_the_command_that_makes_it(tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), SecretsServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "a", "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}], "users": [{"name": "a", "user": {}}]}))
        env = {**environment(), "KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path)}

        def install(name):
            return helm("install", "shop", CHART, "--namespace", "sales", "--dry-run=server", values={"existingSecret": name}, env=env)
        status, _, err = install("missing")
        assert status == 1 and "existingSecret: there is no Secret missing in the namespace sales: kubectl -n sales create secret generic missing" in err
        status, _, err = install("there")
        assert status == 1 and "existingSecret" not in err and "openapi" in err, err  # rendered; here is nothing to install into
        server.shutdown()


# --- kustomize. ---

def kustomize(directory):
    done = subprocess.run(["kustomize", "build", directory], capture_output=True, text=True, env=environment())
    return done.returncode, done.stdout, done.stderr


def test_the_base_for_kustomize_builds_and_is_no_installation_of_helms():
    status, out, err = kustomize(ROOT / "deploy/kustomize/base")
    assert status == 0, err
    documents = [document for document in yaml.safe_load_all(out)]
    assert {document["kind"] for document in documents} == {"ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount", "StatefulSet"}
    assert "Helm" not in out and "helm.sh" not in out and "checksum/" not in out and "namespace:" not in out


def test_an_overlay_sets_what_an_installation_needs(tmp_path):
    """As docs/kubernetes.md has it: namespace, image, secret, settings; changed settings have another name, so the pods are replaced."""
    page = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")
    overlay, = re.findall(r"^```yaml\n(apiVersion: kustomize.*?)^```", page, re.M | re.S)
    settings_file, = re.findall(r"^```json\n(\{\"listen\".*?)^```", page, re.M | re.S)
    (tmp_path / "base").symlink_to(ROOT / "deploy/kustomize/base")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/tokens.env").write_text("admin-token=" + "a" * 32 + "\n")
    (tmp_path / "shop/kustomization.yaml").write_text(overlay.replace("../../deploy/kustomize/base", "../base"))
    names = []
    for text in (settings_file, settings_file.replace('"workers": 4', '"workers": 5')):
        (tmp_path / "shop/penstock.json").write_text(text)
        status, out, err = kustomize(tmp_path / "shop")
        assert status == 0, err
        documents = [document for document in yaml.safe_load_all(out)]
        assert {document["metadata"].get("namespace") for document in documents} == {"sales"}
        spec = gateway(documents)
        assert spec["containers"][0]["image"] == "images.example/penstock:0.2.0"
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        secret, = [document["metadata"]["name"] for document in documents if document["kind"] == "Secret"]
        assert volumes["secrets"]["secret"]["secretName"] == secret != "penstock"
        names.append(volumes["settings"]["configMap"]["name"])
        assert settings(documents) == json.loads(text)
        config = tmp_path / "penstock.json"
        config.write_text(json.dumps({**json.loads(text)}))
        done = subprocess.run([ROOT / "build/dev/gateway/penstock", "--config", config, "--check-config"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert names[0] != names[1]
