"""One browser for all tests of a worker; a window of its own for each test."""
import pytest
from browser import Console, launch, playwright


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
