"""One browser for all tests of a worker; a window of its own for each test."""
import pytest
from browser import Console, launch, playwright
from console_pages import Operator, documents
from penstock import PATIENT_LOG, Gateway


@pytest.fixture(scope="session")
def browser():
    with playwright().sync_playwright() as driver:
        made = launch(driver)
        yield made
        made.close()


@pytest.fixture()
def console(browser, gateway):
    """console(locale=…, look=…, size=…): a window that shows the sign-in."""
    opened = []

    def make(of=None, **look):
        opened.append(Console(browser, of or gateway, **look).open())
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture(scope="module")
def desk_gateway():
    """With some documents of each kind."""
    with Gateway(settings=PATIENT_LOG) as one:
        documents(one)
        yield one


@pytest.fixture()
def desk(browser, desk_gateway):
    """An admin's window."""
    with Operator(browser, desk_gateway) as one:
        yield one
