"""What the chart renders is started from its manifests, in containers of the image (kubelet.py): a sale is bought, confirmed and proved, documents
are applied, `helm test` proves a rehearsal and fails without a proof, and a pod that ends drains and refuses nobody."""
import contextlib
import sys
import threading
import time
from collections import Counter

import pytest
from cluster import NO_LIMITS, Redis, merged
from kubelet import Image, Node
from penstock import QUIET, ROOT, seeds, wait_until

sys.path.insert(0, str(ROOT / "tests/helm"))
from chart import one, render  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]
ADMIN, VIEWER = "admin-" + "0123456789abcdef" * 2, "viewer-" + "0123456789abcdef" * 2
PODS = "10.77.0.0/16"
VALUES = {"existingSecret": "tokens", "config": {
    "trusted_proxies": [PODS], "workers": 1, "http": {"connections": 2000}, "drain": {"delay_ms": 4000, "timeout_ms": 12000},
    "log": {"ack_timeout_ms": 10000}, "seed": seeds({**NO_LIMITS, **QUIET})}, "test": {"buyers": 300, "stock": 50, "over": "2s", "args": ["--connections", "100", "--summary", "--quiet"]}}


@pytest.fixture(scope="module")
def image(archive, tmp_path_factory):
    return Image(archive, tmp_path_factory.mktemp("root"))


@contextlib.contextmanager
def installed(image, values=None, of_the_machine=(), **secrets):
    """helm install: (node, documents), all gateways ready."""
    documents = render(merged(VALUES, values or {}), release="shop", namespace="sales")
    with Node(image, of_the_machine) as node:
        node.secret("tokens", **{"admin_token": ADMIN + "\n", "viewer_token": VIEWER + "\n", **secrets})
        node.apply(documents, namespace="sales")
        node.wait_ready()
        yield node, documents


def admin(node, method, path, body=None, token=ADMIN, host="shop-penstock-admin"):
    return node.ask(host, 8090, method, path, body, {"Authorization": f"Bearer {token}"})


def buy(node, sale, user, host="shop-penstock", port=80, **more):
    return node.ask(host, port, "POST", f"/v1/sales/{sale}/orders", {"sku": "phone"}, {"X-User-Id": user}, **more)


def sell(node, sale="spring", stock=5):
    made = admin(node, "PUT", f"/admin/v1/sales/{sale}", {"open": True, "skus": [{"sku": "phone", "stock": stock}]})
    assert made.status == 201, made
    return made


def audit(node, sale):
    def looked():
        answer = admin(node, "GET", f"/admin/v1/sales/{sale}/audit")
        return answer.status == 200 and answer.json
    return wait_until(looked, 30, 0.5, "an audit")


# --- One gateway. ---

def test_a_gateway_sells_confirms_and_proves_and_a_replaced_pod_knows_it_all(image):
    """Its state is in the volume, with the modes that it insists on, also when the next pod mounts it."""
    with installed(image) as (node, _):
        sell(node)
        answers = [buy(node, "spring", f"user-{number}") for number in range(6)]
        assert [answer.status for answer in answers] == [202] * 5 + [409]
        order = answers[0].json["order_id"]
        assert admin(node, "POST", f"/admin/v1/orders/{order}/confirm", {}).status == 200
        assert audit(node, "spring")["ok"] is True
        pod = node.pods[0]
        state = node.claim(pod, "state") / "state"
        assert state.stat().st_mode & 0o777 == 0o700 and not (state / "admin.token").exists() and state.stat().st_uid == 65532
        status, _ = pod.delete()
        assert status == 0, pod.log()[-2000:]
        node.start_replica("shop-penstock", 0)
        node.wait_ready()
        found = admin(node, "GET", f"/admin/v1/orders/{order}")
        assert found.status == 200 and found.json["state"] == "confirmed"
        assert buy(node, "spring", "user-9").status == 409 and audit(node, "spring")["ok"] is True
        assert state.stat().st_mode & 0o777 == 0o700


def test_probes_and_scrapes_reach_the_admin_listener_by_the_pods_address(image):
    """As the kubelet and Prometheus name it; a name that nobody has given is refused, as on loopback."""
    with installed(image) as (node, documents):
        pod = node.pods[0]
        monitor, = one(render({**VALUES, "podMonitor": {"enabled": True}}), "PodMonitor")["spec"]["podMetricsEndpoints"]
        scraped = admin(node, "GET", monitor["path"], token=VIEWER, host=pod.address)
        assert scraped.status == 200 and "penstock_build_info" in scraped.text
        assert node.ask(pod.address, 8090, "GET", "/metrics").status == 401
        evil = {"Authorization": f"Bearer {VIEWER}", "Host": "evil.example:8090"}
        assert node.ask(pod.address, 8090, "GET", "/metrics", headers=evil).status == 421
        for name in ("shop-penstock-admin", "shop-penstock-admin.sales", "shop-penstock-admin.sales.svc", "shop-penstock-admin.sales.svc.cluster.local"):
            assert node.ask("shop-penstock-admin", 8090, "GET", "/admin/v1/sales", headers={"Authorization": f"Bearer {VIEWER}", "Host": f"{name}:8090"}).status == 200
        with pytest.raises(OSError):  # no admin port in the public Service
            node.ask("shop-penstock", 8090, "GET", "/livez")
        assert pod.restarts == 0


def test_a_local_admin_listener_is_probed_from_within_the_pod(image):
    with installed(image, {"config": {"admin": {"host": "127.0.0.1"}}}) as (node, _):
        pod = node.pods[0]
        with pytest.raises(OSError):
            node.ask(pod.address, 8090, "GET", "/livez")
        assert node.ask("shop-penstock", 80, "GET", "/v1/sales/none").status == 404
        status, _ = pod.delete()
        assert status == 0


def test_a_pod_that_ends_serves_until_it_is_forgotten_and_exits_by_itself(image):
    """SIGTERM alone, no preStop: while Services still send requests, they are answered; then it ends, well before the grace period does."""
    with installed(image) as (node, documents):
        sell(node, stock=1000)
        pod, seen, stop = node.pods[0], [], threading.Event()

        def knock():
            """At most 50 a second, so that the stock outlasts it on a machine of any speed."""
            while not stop.wait(0.02):
                at, status = time.monotonic(), None
                with contextlib.suppress(OSError):
                    status = buy(node, "spring", f"user-{len(seen)}", timeout=10).status
                seen.append((at, status))

        thread = threading.Thread(target=knock)
        thread.start()
        time.sleep(1)
        begun = time.monotonic()
        status, seconds = pod.delete(propagation_s=2.5)
        stop.set()
        thread.join()
        meanwhile = [status for at, status in seen if begun <= at < begun + 2]
        assert status == 0 and 4 <= seconds < pod.spec["terminationGracePeriodSeconds"]
        assert len(meanwhile) > 5 and set(meanwhile) == {202}, meanwhile
        accepted = sum(status == 202 for _, status in seen)
        node.start_replica("shop-penstock", 0)
        node.wait_ready()
        assert audit(node, "spring")["ok"] is True
        assert len(admin(node, "GET", "/admin/v1/orders?sale=spring&limit=1000").lines()) == accepted


# --- What hooks do. ---

def test_documents_of_the_values_are_applied_by_a_job(image):
    """The whole bundle, with the release as its reason; one with a fault changes nothing, and the job's log names the member."""
    bundle = {"limits": {"user": {"algorithm": "token_bucket", "key": "user", "rate": 7, "period_s": 1}}}
    with installed(image, {"documents": {"bundle": bundle}}) as (node, documents):
        status, log = node.run(one(documents, "Job", "-documents"))
        assert status == 0, log
        assert admin(node, "GET", "/admin/v1/limits/user").json["rate"] == 7
        history = admin(node, "GET", "/admin/v1/limits/user/versions").text
        assert "release shop, revision 1" in history and "admin-token" in history
        bad = merged(VALUES, {"documents": {"bundle": {"limits": {"user": {**bundle["limits"]["user"], "rate": 8}, "ip": {"rate": "many"}}}}})
        documents = render(bad, namespace="sales")
        node.apply([d for d in documents if d["kind"] == "ConfigMap"])
        job = one(documents, "Job", "-documents")
        job["spec"]["backoffLimit"] = 0
        status, log = node.run(job)
        assert status != 0 and "limits" in log and "rate" in log, log
        assert admin(node, "GET", "/admin/v1/limits/user").json["rate"] == 7


def test_helm_test_proves_a_rehearsal(image):
    with installed(image) as (node, documents):
        status, log = node.run(one(documents, "Pod"))
        assert status == 0, log
        sold = [sale for sale in admin(node, "GET", "/admin/v1/sales?rehearsal=true").json["sales"]]
        assert len(sold) == 1 and sold[0]["skus"][0]["available"] == 0
        assert admin(node, "GET", "/admin/v1/sales?rehearsal=false").json["sales"] == []


def test_helm_test_rehearses_on_a_twin_of_a_live_sale(image):
    """With the key of the Secret; the sale itself is not touched."""
    with installed(image, {"test": {"twinOf": "spring"}}) as (node, documents):
        sell(node)
        made = admin(node, "POST", "/admin/v1/rehearsal-keys", {"note": "helm test"})
        assert made.status == 201, made
        node.secrets["tokens"]["rehearsal-key"] = made.text
        status, log = node.run(one(documents, "Pod"))
        assert status == 0, log
        assert admin(node, "GET", "/admin/v1/sales/spring").json["skus"][0]["available"] == 5
        assert audit(node, "spring")["ok"] is True


def test_helm_test_fails_if_nothing_is_proved(image):
    """Nobody's identity is believed, so no order is made."""
    with installed(image, {"config": {"trusted_proxies": ["192.0.2.1"]}}) as (node, documents):
        status, log = node.run(one(documents, "Pod"))
        assert status not in (0, None) and "trusted_proxies" in log, log


# --- What is missing or wrong. ---

def test_settings_that_are_wrong_are_named_before_anything_is_replaced(image):
    """What no schema can say: the job fails, and its last words, which Kubernetes shows, name the member."""
    with Node(image) as node:
        node.secret("tokens", admin_token=ADMIN, redis_password="kept to itself")
        config = {"store": {"redis": {"password_file": "/run/secrets/penstock/redis-password"}}}
        for more, status, says in (({}, 0, "ok"), ({"trusted_proxies": ["10.0.0.0/33"]}, 1, "trusted_proxies"),
                                   ({"store": {"redis": {"password_file": "/run/secrets/penstock/redis"}}}, 1, "store.redis.password_file")):
            documents = render(merged(VALUES, {"config": merged(config, more)}), namespace="sales")
            node.apply([document for document in documents if document["kind"] == "ConfigMap"])
            ended, log = node.run(one(documents, "Job", "-check"))
            assert ended == status and says in log, log


def test_a_missing_secret_is_named_and_nothing_starts(image):
    with Node(image) as node:
        with pytest.raises(AssertionError, match="secret tokens not found"):
            node.apply(render(VALUES), namespace="sales")


def test_a_secret_without_tokens_ends_the_start_and_says_what_to_put_there(image):
    with Node(image) as node:
        node.secret("tokens", redis_password="kept to itself")
        node.apply(render(VALUES), namespace="sales")
        pod = node.pods[0]
        assert pod.process.wait(30) == 1
        assert "admin.token_dir: /run/secrets/penstock has no file admin-token" in pod.log() and not pod.ready


# --- A cluster. ---

def test_a_cluster_sells_through_its_service_and_loses_nobody_while_pods_are_replaced(image, kafka, tmp_path):
    """Two gateways over a real Redis and a real Kafka, each with its own volume; one is replaced while buyers come, then the other."""
    redis = Redis(tmp_path, options=("--requirepass", "kept-to-itself")).start()
    topic = kafka.topic(partitions=3)
    values = {"replicas": 2, "config": {
        "store": {"kind": "redis", "redis": {"url": f"redis://127.0.0.1:{redis.port}/0", "password_file": "/run/secrets/penstock/redis-password"}},
        "log": {"kind": "kafka", "kafka": {"brokers": f"127.0.0.1:{kafka.port}", "topic": topic, "delivery_timeout_ms": 30000}}}}
    try:
        with installed(image, values, [redis.port, kafka.port], redis_password="kept-to-itself") as (node, documents):
            names = {(node.claim(pod, "state") / "state/gateway.id").read_text() for pod in node.pods}
            assert len(names) == 2
            sell(node, "winter", stock=100000)
            seen, stop = [], threading.Event()
            for pod in node.pods:  # which of them opens the sale is theirs to decide
                wait_until(lambda pod=pod: buy(node, "winter", "first-" + pod.name, host=pod.address, port=8080).status == 202, 30, 0.2, "a sale that is open everywhere")

            def knock():
                while not stop.wait(0.005):
                    try:
                        answer = buy(node, "winter", f"user-{len(seen)}", timeout=30)
                        seen.append(answer.status if answer.status == 202 else f"{answer.status} {answer.code}")
                    except OSError as broken:
                        seen.append(str(broken))

            thread = threading.Thread(target=knock)
            thread.start()
            for number in range(2):
                time.sleep(1)
                status, _ = next(pod for pod in node.pods if pod.name.endswith(f"-{number}")).delete(propagation_s=2)
                assert status == 0
                node.wait_ready(node.start_replica("shop-penstock", number))
            stop.set()
            thread.join()
            assert len(seen) > 20 and set(seen) == {202}, Counter(seen)
            assert names == {(node.claim(pod, "state") / "state/gateway.id").read_text() for pod in node.pods}
            for pod in node.pods:
                found = wait_until(lambda pod=pod: (a := admin(node, "GET", "/admin/v1/sales/winter/audit", host=pod.address)).status == 200 and a.json, 60, 0.5)
                assert found["ok"] is True
            assert admin(node, "GET", "/admin/v1/sales/winter").json["skus"][0]["held"] == len(seen) + 2
            status, log = node.run(one(documents, "Pod"))
            assert status == 0, log
    finally:
        redis.kill()
