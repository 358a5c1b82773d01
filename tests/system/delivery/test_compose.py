"""The compose files: they fit the specification, start nothing with a password that somebody knows, and the first one sells."""
import ipaddress
import json
import os
import re
import shutil
import stat
import subprocess

import jsonschema
import pytest
import yaml
from composing import Project, read
from containers import VERSION, run
from penstock import BUILD, PENSTOCK, ROOT, wait_until

COMPOSE = ROOT / "deploy/compose"
FILES = ("compose.yaml", "cluster.yaml")
ENV = {"PENSTOCK_UID": "1000", "PENSTOCK_GID": "1000"}


@pytest.mark.parametrize("name", FILES)
def test_each_file_fits_the_specification(name):
    python = run(ROOT / "tests/python/fetch").stdout.strip()
    run(python, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE / name)


@pytest.mark.parametrize("name", FILES)
def test_what_services_use_is_declared_and_all_that_is_declared_is_used(name):
    file = read(COMPOSE / name, ENV)
    used = {"configs": set(), "secrets": set(), "volumes": set(), "networks": set()}
    for service in file["services"].values():
        used["configs"] |= {one["source"] for one in service.get("configs", [])}
        used["secrets"] |= set(service.get("secrets", []))
        used["volumes"] |= {one.split(":")[0] for one in service.get("volumes", []) if one[0] not in "./"}
        used["networks"] |= set(service.get("networks", []))
        assert set(service.get("depends_on", [])) <= set(file["services"])
        if service.get("network_mode"):
            assert service["network_mode"].removeprefix("service:") in file["services"]
    for kind, names in used.items():
        assert names == set(file.get(kind, {})), kind


@pytest.mark.parametrize("name", FILES)
def test_each_version_of_ours_is_the_project_s(name):
    assert set(re.findall(r"penstock[-:](\d+\.\d+\.\d+)", (COMPOSE / name).read_text())) == {VERSION}


@pytest.mark.parametrize("name", FILES)
def test_every_port_is_open_on_this_machine_only(name):
    for service in read(COMPOSE / name, ENV)["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", FILES)
def test_our_containers_may_nothing(name):
    """Compose copies a config that is in the file into the container, which it cannot if that is read_only (docker/compose #12031)."""
    file = read(COMPOSE / name, ENV)
    for service in file["services"].values():
        inline = any("content" in file["configs"][one["source"]] for one in service.get("configs", []))
        if service["image"].startswith("penstock:"):
            assert service.get("read_only", False) is not inline and service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
        assert not (inline and service.get("read_only"))


def test_a_service_that_serves_waits_for_what_it_needs_to_be_well():
    services = read(COMPOSE / "cluster.yaml", ENV)["services"]
    for name, service in services.items():
        for other, needs in (service["depends_on"].items() if isinstance(service.get("depends_on"), dict) else ()):
            assert needs["condition"] != "service_healthy" or "healthcheck" in services[other], (name, other)


def test_a_name_that_must_be_known_while_its_container_is_stopped_has_an_address():
    """Docker's DNS forgets a stopped container. A Sentinel that waits for the name of the dead master fails nothing over; HAProxy does not start."""
    file = read(COMPOSE / "cluster.yaml", ENV)
    given = {name: service["networks"]["inside"]["ipv4_address"] for name, service in file["services"].items() if isinstance(service.get("networks"), dict)}
    assert {"gateway-1", "gateway-2", "gateway-3", "redis-1", "redis-2", "sentinel-1", "sentinel-2", "sentinel-3"} == set(given)
    config, = file["networks"]["inside"]["ipam"]["config"]
    addresses = {ipaddress.ip_address(one) for one in given.values()}
    assert len(addresses) == len(given) and all(one in ipaddress.ip_network(config["subnet"]) and one not in ipaddress.ip_network(config["ip_range"]) for one in addresses)
    hosts = [f"{name}:{address}" for name, address in given.items()]
    assert all(sorted(file["services"][name]["extra_hosts"]) == sorted(hosts) for name in (*given, "haproxy"))
    assert read(COMPOSE / "cluster.yaml", {**ENV, "PENSTOCK_NET": "10.1.2"})["networks"]["inside"]["ipam"]["config"][0]["subnet"] == "10.1.2.0/24"


def test_postgres_is_well_only_when_it_serves_the_network():
    """Its image first makes the database with a server that listens on a socket alone."""
    assert {"-h", "127.0.0.1"} <= set(read(COMPOSE / "cluster.yaml", ENV)["services"]["postgres"]["healthcheck"]["test"])


@pytest.mark.parametrize("name", FILES)
def test_the_rehearsal_accepts_the_machine_that_it_is_sent_to(name, tmp_path):
    """It ends because nothing is there, not because it may not."""
    words = read(COMPOSE / name, ENV)["services"]["rehearse"]["command"]
    (tmp_path / "token").write_text("x" * 64)
    (tmp_path / "token").chmod(0o600)
    words = [str(tmp_path / "token") if word.startswith(("/run/secrets/", "/var/lib/")) else word.replace("gateway-1", "192.0.2.1") for word in words]
    done = run("unshare", "-n", *([] if os.geteuid() == 0 else ["-r"]), BUILD / "loadtest/penstock-rehearse", *words, status=None, timeout=60)
    assert done.returncode != 0 and "not this machine" not in done.stderr and ":8090" in done.stderr, done.stderr


# --- Secrets. ---


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(COMPOSE, tmp_path / "compose", ignore=shutil.ignore_patterns("secrets", ".env"))
    return tmp_path / "compose"


def test_no_secret_has_a_default(copy):
    """Each is a file that is not there before make-secrets, no value of an environment; and without .env compose ends, and says what to do."""
    file = read(copy / "cluster.yaml", ENV)
    for name, secret in file["secrets"].items():
        assert set(secret) == {"file"} and not (copy / secret["file"]).exists(), name
    for service in file["services"].values():
        environment = service.get("environment", {})
        assert all(key.upper().endswith("FILE") for key in environment if re.search("PASSWORD|TOKEN|SECRET", key.upper())), environment
    with pytest.raises(AssertionError, match="run deploy/compose/make-secrets first"):
        read(copy / "cluster.yaml")


def test_make_secrets_makes_what_the_file_names_and_keeps_what_is_there(copy):
    run(copy / "make-secrets", env={**os.environ, "PATH": os.environ["PATH"]})
    file = read(copy / "cluster.yaml", dict(line.split("=") for line in (copy / ".env").read_text().split()))
    made = {path.name: path.read_text() for path in (copy / "secrets").iterdir()}
    for name, secret in file["secrets"].items():
        path = copy / secret["file"]
        assert path.is_file() and (path.stat().st_mode & stat.S_IROTH == 0 or name == "shop.pub.pem")
    tokens = [made[f"{role}-token"] for role in ("admin", "operator", "viewer")]
    assert len(set(tokens)) == 3 and all(re.fullmatch("[0-9a-f]{64}\n", token) for token in tokens)
    assert made["pgpass"] == f"postgres:5432:shop:penstock:{made['postgres-password'].strip()}\n"
    run(copy / "make-secrets")
    assert made == {path.name: path.read_text() for path in (copy / "secrets").iterdir()}


def test_git_keeps_no_secret(copy):
    done = run("git", "-C", ROOT, "check-ignore", "deploy/compose/secrets/admin-token", "deploy/compose/.env")
    assert len(done.stdout.splitlines()) == 2


# --- What the cluster's parts read. ---


@pytest.fixture
def configs(copy):
    run(copy / "make-secrets")
    file = read(copy / "cluster.yaml", ENV)
    return {name: config.get("content") or (copy / config["file"]) for name, config in file["configs"].items()}


def test_gateways_and_settlement_take_their_settings(configs, copy, tmp_path):
    settings = tmp_path / "penstock.json"
    settings.write_text(configs["gateway"].read_text().replace("/run/secrets", str(copy / "secrets")))
    assert run(PENSTOCK, "--config", settings, "--check-config").stdout.endswith(": ok\n")
    schema = json.loads(run(BUILD / "queue/settle/penstock-settle", "--print-schema").stdout)
    jsonschema.validate(json.loads(configs["settle"].read_text()), schema)


def test_prometheus_takes_its_settings(configs, copy, tmp_path):
    (tmp_path / "prometheus.yml").write_text(configs["prometheus"].replace("/run/secrets", str(copy / "secrets")))
    shutil.copy(ROOT / "deploy/prometheus/penstock.rules.yml", tmp_path)
    run("promtool", "check", "config", tmp_path / "prometheus.yml")


def test_grafana_s_files_are_yaml_and_name_what_is_there(configs):
    source, = yaml.safe_load(configs["datasource"])["datasources"]
    provider, = yaml.safe_load(configs["dashboards"])["providers"]
    grafana = read(COMPOSE / "cluster.yaml", ENV)["services"]["grafana"]
    assert source["url"] == "http://prometheus:9090"
    assert f"../grafana:{provider['options']['path']}:ro" in grafana["volumes"]
    assert list((ROOT / "deploy/grafana").glob("*.json"))


def test_the_topic_is_made_as_deploy_kafka_topic_makes_it():
    command = read(COMPOSE / "cluster.yaml", ENV)["services"]["topic"]["command"]
    given = {command[i + 1] for i, word in enumerate(command) if word == "--config"}
    script = (ROOT / "deploy/kafka/topic").read_text()
    wanted = re.search(r"settings=\((.*?)\)\n", script, re.S)[1].replace('"min.insync.replicas=$in_sync"', "min.insync.replicas=1").split()
    assert given == set(wanted)


def test_redis_and_its_sentinels_start_with_what_their_commands_write(copy, tmp_path):
    """The commands themselves, with the names of the containers on loopback: a replica follows, a Sentinel knows both, and SIGTERM ends Redis itself."""
    run(copy / "make-secrets")
    services = read(COMPOSE / "cluster.yaml", ENV)["services"]
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "docker-entrypoint.sh").write_text('#!/bin/sh\nexec "$@"\n')
    (programs / "chown").write_text("#!/bin/sh\n")
    for path in programs.iterdir():
        path.chmod(0o755)
    (tmp_path / "hosts").write_text("127.0.0.1 localhost sentinel-1\n127.0.1.1 redis-1\n127.0.1.2 redis-2\n")
    script = ["set -e", "mount --bind hosts /etc/hosts", "ip link set lo up", f"mkdir -p data run && mount -t tmpfs none /run && mkdir -p /run/secrets /run/data && cp {copy}/secrets/* /run/secrets/"]
    begun = {}
    for name, address in (("redis-1", "127.0.1.1"), ("redis-2", "127.0.1.2"), ("sentinel-1", None)):
        shell, flag, command = services[name]["command"]
        environment = services[name]["environment"]
        command = command.replace("/etc/redis/penstock.conf", str(ROOT / "deploy/redis/redis.conf")).replace("/data/", "/run/data/")
        if address:  # each container has the port for itself
            command = command.replace("bind * -::*", f"bind {address}")
        begun[name] = " ".join(f"{key}='{value}'" for key, value in environment.items()) + f" {shell} {flag} '" + command.replace("'", "'\\''") + f"' >{name}.log 2>&1 &"
        script += [begun[name], f"{name.replace('-', '_')}=$!"]
    script += ["sleep 3", 'export REDISCLI_AUTH="$(cat /run/secrets/redis-password)"', "redis-cli -h redis-2 info replication", "redis-cli -h redis-1 config get maxmemory-policy",
               "redis-cli -p 26379 sentinel get-master-addr-by-name penstock",
               "for i in $(seq 150); do redis-cli -p 26379 sentinel replicas penstock | grep redis-2 && break; sleep 0.1; done", "kill $redis_1", "wait $redis_1"]
    done = subprocess.run(["unshare", "-mn", "--pid", "--fork", "--kill-child", *([] if os.geteuid() == 0 else ["-r"]), "bash", "-c", "\n".join(script)], cwd=tmp_path, capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"})
    logs = {name: (tmp_path / f"{name}.log").read_text()[-2000:] for name in begun if (tmp_path / f"{name}.log").exists()}
    assert done.returncode == 0, (done.stdout, done.stderr, logs)
    assert "master_host:redis-1" in done.stdout and "master_link_status:up" in done.stdout and "noeviction" in done.stdout, (done.stdout, logs)
    assert "redis-1\n6379" in done.stdout and "redis-2:6379" in done.stdout, (done.stdout, logs)
    assert "bye bye" in logs["redis-1"], logs


# --- The first form. ---


@pytest.mark.slow
@pytest.mark.xdist_group("image")
def test_with_the_archive_and_the_file_alone_a_sale_is_bought_confirmed_and_proven(podman, archive, tmp_path):
    shutil.copy(COMPOSE / "compose.yaml", tmp_path)
    podman.load(archive.path)
    with Project(podman, tmp_path / "compose.yaml", tmp_path) as project:
        project.up("gateway")
        wait_until(lambda: project.healthy("gateway"), 30, 0.2, "health")
        public, admin = "http://127.0.0.1:8080", "http://127.0.0.1:8090/admin/v1"
        token = {"Authorization": "Bearer " + project.copy("gateway", "/var/lib/penstock/admin.token").strip()}
        assert project.call("PUT", admin + "/overload", {"mode": "off"}, If_Match="*", **token)[0] == 200  # however busy this machine is
        assert project.call("PUT", admin + "/sales/spring", {"open": True, "skus": [{"sku": "phone", "stock": 1}]}, **token)[0] == 201
        status, order = project.call("POST", public + "/v1/sales/spring/orders", {"sku": "phone"}, X_User_Id="ann", Idempotency_Key='"ann-1"')
        assert status == 202 and order["state"] in ("accepted", "pending"), order
        assert project.call("POST", f"{admin}/orders/{order['order_id']}/confirm", {"reason": "invoice 17"}, **token)[0] == 200
        status, report = project.call("GET", admin + "/sales/spring/audit", **token)
        assert status == 200 and report["ok"] is True, report
        said = project.run("rehearse")
        assert "2,000 buyers came for 100 units" in said and "0 oversold, 0 lost, 0 sold twice" in said, said
