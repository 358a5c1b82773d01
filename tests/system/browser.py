"""A headless Chromium for the tests of the console. Playwright, which drives it, is in the packages that tests/python/fetch keeps."""
import functools
import pathlib
import shutil
import subprocess
import sys

from penstock import ROOT

# A name that is not this machine's, and leads here all the same: as of an attacker who rebinds DNS.
FOREIGN = "foreign.test"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1"]
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE_MS = 20000


@functools.cache
def playwright():
    fetched = subprocess.run([ROOT / "tests/python/fetch"], capture_output=True, text=True)
    assert fetched.returncode == 0, fetched.stderr
    place = pathlib.Path(fetched.stdout.strip()).parents[1]
    sys.path.append(str(next(place.glob("lib/python3*/site-packages"))))
    from playwright import sync_api
    return sync_api


def launch(driver):
    return driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)


class Console:
    """A window of a browser with the console of a gateway in it. Errors of its scripts fail the test that ends it."""

    def __init__(self, browser, gateway, locale="en-GB", look="light", size=None):
        self.gateway = gateway
        self.context = browser.new_context(locale=locale, color_scheme=look, viewport=size or WIDE)
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.errors = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    @property
    def url(self):
        return f"http://127.0.0.1:{self.gateway.admin_port}/console/"

    def open(self, path=""):
        self.page.goto(self.url + path)
        return self

    def sign_in(self, token=None):
        self.page.fill("#token", token or self.gateway.token)
        self.page.keyboard.press("Enter")
        return self

    def live(self):
        self.page.wait_for_selector(".pulse.live")
        return self

    def text(self, selector="body"):
        return self.page.inner_text(selector)

    def shows(self, selector, text=None):
        """Waits until it is there, with this text."""
        return self.page.locator(selector, has_text=text).first.wait_for()

    def width(self):
        """Of what it shows; more than the window's makes it scroll sideways."""
        return self.page.evaluate("document.documentElement.scrollWidth")

    def close(self):
        self.context.close()
        assert not self.errors, self.errors


def new_token(gateway, role):
    """(id, secret)"""
    made = gateway.admin("POST", "/admin/v1/tokens", {"role": role, "note": "of a test"})
    assert made.status == 201, made
    return made.json["id"], made.json["token"]
