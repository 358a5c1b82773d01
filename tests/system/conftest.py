"""Fixtures that several files share; which tests of a cluster run by default; in which order several workers take all tests."""
import pytest
from cluster import Cluster, Kafka, Redis
from penstock import PATIENT_LOG, Gateway
from settle import Sqlite, init

# A test of three real gateways over a real Redis and Kafka takes some 20 s. So by default one runs for each promise at large; the others
# are soak: `tests/run long`. Of what HAProxy and nginx do in front of gateways, test_proxies runs whole.
CLUSTER_FILES = ("test_cluster_bad_input", "test_cluster_clock", "test_cluster_control", "test_cluster_edges", "test_cluster_kafka", "test_cluster_kafka_change", "test_cluster_kill",
                 "test_cluster_plans", "test_cluster_redis", "test_cluster_resume", "test_cluster_rolling", "test_cluster_settle", "test_cluster_twin", "test_pairs", "test_settle_kafka")
BY_DEFAULT = {
    "test_gateways_killed_under_load_break_no_promise_and_leave_no_doubt",
    "test_an_empty_redis_is_filled_from_the_log_under_load",
    "test_orders_are_pending_while_kafka_is_away_and_accepted_afterwards",
    "test_a_sale_made_through_one_gateway_is_sold_by_all_and_changes_everywhere",
    "test_an_override_of_the_level_and_of_a_feature_holds_everywhere_until_its_end",
    "test_the_successor_of_a_killed_leader_ends_a_run_in_time",
    "test_confirm_and_cancel_mean_the_same_at_every_gateway_for_ever",
    "test_admission_resumes_within_two_seconds_of_the_return_of_redis_with_its_data",
    "test_a_gateway_whose_clock_jumps_sells_and_settles_as_the_others",
    "test_a_rehearsals_books_agree_over_a_kill",
    "test_a_rehearsal_beside_a_live_sale_of_a_cluster_is_proved_and_touches_nothing_real",
    "test_a_sale_sells_out_exactly_over_a_kill",
    "test_a_topic_that_was_made_anew_is_not_read_on",
    "test_a_redis_that_cannot_be_reached_is_named",
    "test_another_cluster_at_the_same_address_gets_no_promise_and_the_own_one_goes_on",
    "test_a_kafka_older_than_3_7_is_refused_by_name",
}

# Several workers (pytest-xdist) take test after test from one list: so the longest come first. What shares a costly fixture stays together:
# by default one broker is enough; the many of soak keep all workers busy.
LONGEST = ("test_cluster_chaos", "test_soak", "test_cluster_resume", "test_capacity", "test_quickstart")
TOGETHER = ("kafka", "expired", "package", "k6")


def wants(item, fixture):
    """Also by way of a parameter (test_pairs)."""
    return fixture in item.fixturenames or item.name.endswith(f"_and_{fixture}]")


def rank(item):
    if item.module.__name__ in LONGEST:
        return LONGEST.index(item.module.__name__)
    return len(LONGEST) + (0 if wants(item, "kafka") else 1 if item.module.__name__ == "test_settle" else 2)


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items):
    items.sort(key=rank)
    for item in items:
        if item.module.__name__ in CLUSTER_FILES and item.originalname not in BY_DEFAULT:
            item.add_marker(pytest.mark.soak)
        elif shared := [fixture for fixture in TOGETHER if wants(item, fixture)]:
            item.add_marker(pytest.mark.xdist_group(shared[0]))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Leaves word for fixtures whether the test has failed."""
    outcome = yield
    if outcome.get_result().failed:
        item.has_failed = True


@pytest.fixture(scope="module")
def gateway():
    """One for all tests of a file, without limits; however busy the disk is, orders wait for it. Files that need another have their own."""
    with Gateway(settings=PATIENT_LOG) as g:
        g.no_limits()
        yield g


@pytest.fixture()
def redis(tmp_path):
    server = Redis(tmp_path).start()
    yield server
    server.end()


@pytest.fixture()
def shop(tmp_path):
    """A shop's database with the tables of settlement."""
    return init(Sqlite(tmp_path))


@pytest.fixture(scope="session")
def kafka():
    """One broker for all tests of a worker that want one; each leaves it well."""
    with Kafka() as broker:
        yield broker


@pytest.fixture()
def cluster(kafka, request):
    """Three gateways over one Redis and one topic."""
    with Cluster(kafka) as c:
        yield c
        c.failed = getattr(request.node, "has_failed", False)
