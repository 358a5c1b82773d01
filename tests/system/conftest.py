"""Fixtures that several files share."""
import pytest
from cluster import Cluster, Kafka


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Leaves word for fixtures whether the test has failed."""
    outcome = yield
    if outcome.get_result().failed:
        item.has_failed = True


@pytest.fixture(scope="session")
def kafka():
    """One broker for all tests that want one; each leaves it well."""
    with Kafka() as broker:
        yield broker


@pytest.fixture()
def cluster(kafka, request):
    """Three gateways over one Redis and one topic."""
    with Cluster(kafka) as c:
        yield c
        c.failed = getattr(request.node, "has_failed", False)
