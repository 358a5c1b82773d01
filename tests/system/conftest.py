"""Fixtures that several files share."""
import pytest
from cluster import Cluster, Kafka


@pytest.fixture(scope="session")
def kafka():
    """One broker for all tests that want one; each leaves it well."""
    with Kafka() as broker:
        yield broker


@pytest.fixture()
def cluster(kafka):
    """Three gateways over one Redis and one topic."""
    with Cluster(kafka) as c:
        yield c
