"""The scripts for k6 and wrk buy in a real gateway, and what they say of it is what the gateway says."""
import os
import re
import subprocess

import pytest
from faults import in_memory
from penstock import PATIENT_LOG, ROOT, Gateway

STOCK = 50  # sold within a part of a second, so within two on any machine


@pytest.fixture(scope="module")
def gateway():
    # On a disk of memory: no slow one keeps an order's answer until the script has ended.
    with in_memory() as directory, Gateway(directory, PATIENT_LOG) as g:
        g.no_limits()
        yield g


@pytest.fixture
def sale(gateway):
    return gateway.make_sale(stock=STOCK, rehearsal=True)


def wrk(gateway, script, path, **env):
    words = ["wrk", "-t1", "-c16", "-d2s", "-s", ROOT / "loadtest/wrk" / script, f"http://127.0.0.1:{gateway.port}{path}"]
    out = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True, env={**os.environ, "SALE_SKU": "phone", **env}).stdout
    requests, _, unanswered, no, _, _ = re.search(r"^WRK (\d+) (\S+) (\d+) (\d+) (\S+) (\S+)$", out, re.MULTILINE).groups()
    return int(requests), int(unanswered), int(no), {name: int(n) for name, n in re.findall(r"^ANSWER (\S+) (\d+)$", out, re.MULTILINE)}


def test_wrk_buys_a_sale_empty_and_counts_every_answer(gateway, sale):
    requests, unanswered, no, answers = wrk(gateway, "sale.lua", f"/v1/sales/{sale}/orders")
    assert answers["accepted"] == STOCK and sum(answers.values()) == requests and unanswered == 0, answers
    assert no == answers["sold_out"] == requests - STOCK
    assert gateway.sale(sale)["skus"][0]["held"] == STOCK


def test_wrk_as_one_user_buys_once(gateway, sale):
    answers = wrk(gateway, "sale.lua", f"/v1/sales/{sale}/orders", SALE_USERS="one")[3]
    assert answers["replayed"] > 0 and gateway.sale(sale)["skus"][0]["held"] == 1, answers


def test_wrk_without_answers_leaves_the_counting_out(gateway, sale):
    requests, _, no, answers = wrk(gateway, "sale.lua", f"/v1/sales/{sale}/orders", SALE_ANSWERS="0")
    assert answers == {} and requests - no == STOCK


def test_wrk_reads_the_page_of_a_sale(gateway, sale):
    requests, unanswered, no, _ = wrk(gateway, "page.lua", f"/v1/sales/{sale}")
    assert requests > 0 and unanswered == 0 and no == 0


@pytest.fixture(scope="module")
def k6():
    """Its own words say why there is none."""
    made = subprocess.run([ROOT / "loadtest/k6/build"], capture_output=True, text=True, timeout=1800)
    assert made.returncode == 0, "there is no k6: " + made.stderr
    return made.stdout.strip()


def iterations(out):
    return int(re.search(r"^ *iterations\.*: (\d+)", out, re.M).group(1))


def run_k6(k6, gateway, **env):
    words = [k6, "run", "--no-usage-report", "--quiet", "--no-color"]
    for name, value in {"PUBLIC": f"http://127.0.0.1:{gateway.port}", "SKU": "phone", "RATE": 150, "DURATION": "2s", "BUYERS": 300, "P99_MS": 30000, **env}.items():
        words += ["-e", f"{name}={value}"]
    done = subprocess.run([*words, ROOT / "loadtest/k6/sale.js"], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr, {name: int(n) for name, n in re.findall(r"answer_(\w+)\.*: (\d+)", done.stdout)}


@pytest.mark.slow  # k6 is compiled where it is not
def test_k6_buys_a_sale_empty_and_counts_every_answer(k6, gateway, sale):
    status, out, answers = run_k6(k6, gateway, SALE=sale)
    assert status == 0, out
    assert answers["accepted"] == STOCK and set(answers) == {"accepted", "sold_out"} and sum(answers.values()) == iterations(out) > STOCK, out
    assert gateway.sale(sale)["skus"][0]["held"] == STOCK


@pytest.mark.slow  # k6 is compiled where it is not
def test_k6_ends_with_99_when_a_threshold_is_crossed(k6, gateway, sale):
    status, out, _ = run_k6(k6, gateway, SALE=sale, P99_MS=0.0001)
    assert status == 99 and "http_req_duration" in out, out


@pytest.mark.slow  # k6 is compiled where it is not
def test_k6_says_that_the_sale_is_not_there(k6, gateway):
    status, out, answers = run_k6(k6, gateway, SALE="no-such-sale")
    assert status != 0 and answers == {} and "no-such-sale answered 404" in out, out


def test_a_k6_that_cannot_be_built_is_said(tmp_path):
    """Without a network and with an empty cache."""
    env = {**os.environ, "PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path), "GOMODCACHE": str(tmp_path / "modules"), "GOPROXY": "off"}
    made = subprocess.run([ROOT / "loadtest/k6/build"], capture_output=True, text=True, env=env)
    assert made.returncode == 1 and made.stderr.splitlines()[-1].startswith("loadtest/k6/build: ") and made.stdout == "", made
    assert not list(tmp_path.glob("penstock/k6/*")), "it leaves nothing half made"
