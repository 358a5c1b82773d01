"""The page behind the quickstart, as a browser shows it: headless Chromium, real services, the quickstart's own documents. Before, during and after a switch of the page to
its other version; with a service that is slow, dead and back. SHOP_PAGE_PICTURES=DIR keeps a picture of each."""
import os
import pathlib
import re
import subprocess
import sys

import pytest
from front import tool
from penstock import ANY_VERSION, ROOT, Gateway, call, free_port, wait_until

PARTS = {"blue": 8091, "green": 8092, "reviews": 8093, "recommendations": 8094}


class Part:
    """A service of deploy/shop."""

    def __init__(self, name):
        self.name, self.port = name, free_port()

    def start(self):
        self.process = subprocess.Popen([sys.executable, ROOT / "deploy/shop/serve", self.name, str(self.port)])

        def answers():
            try:
                return call(self.port, "GET", "/health").status == 200
            except OSError:
                return False
        wait_until(answers, what=self.name)
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def parts():
    found = {name: Part(name).start() for name in PARTS}
    yield found
    for part in found.values():
        part.kill()


@pytest.fixture(scope="module")
def gateway(parts):
    with Gateway() as one:
        documents = (ROOT / "deploy/shop/documents.json").read_text()
        for name, port in PARTS.items():
            documents = documents.replace(f"127.0.0.1:{port}", f"127.0.0.1:{parts[name].port}")
        answer = one.admin("PUT", "/admin/v1/config?kinds=caches,pools,routes", documents, {**ANY_VERSION, "Content-Type": "application/json"})
        assert answer.status == 200, answer
        one.no_limits()
        one.make_sale("lamp", skus=[{"sku": "lamp", "stock": 100}])
        wait_until(lambda: call(one.port, "GET", "/").status == 200, what="the page")
        yield one


def see(gateway, tmp_path, name):
    """The page's DOM after its scripts have run."""
    browser = [tool("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path}/profile", "--virtual-time-budget=6000"]
    pictures = os.environ.get("SHOP_PAGE_PICTURES")
    url = f"http://127.0.0.1:{gateway.port}/"
    if pictures:
        pathlib.Path(pictures).mkdir(exist_ok=True)
        subprocess.run([*browser, "--window-size=800,900", f"--screenshot={pictures}/{name}.png", url], check=True, capture_output=True, timeout=240)
    return subprocess.run([*browser, "--dump-dom", url], check=True, capture_output=True, text=True, timeout=240).stdout


def version(dom):
    found = re.findall(r'data-version="(\w+)"', dom)
    assert len(found) == 1 and dom.rstrip().endswith("</html>"), dom
    return found[0]


def items(dom, part):
    return re.findall(r"<li>(.*?)</li>", re.search(rf'<ul id="{part}">(.*?)</ul>', dom, re.S).group(1))


def switch(gateway, pool):
    answer = gateway.admin("PATCH", "/admin/v1/routes/page", {"pool": pool}, {**ANY_VERSION, "Content-Type": "application/merge-patch+json"})
    assert answer.status == 200, answer


def test_the_page_has_text_reviews_recommendations_and_a_sale_that_can_be_bought(gateway, tmp_path):
    dom = see(gateway, tmp_path, "before")
    assert version(dom) == "blue"
    assert len(items(dom, "reviews")) == 2 and len(items(dom, "recommendations")) == 3
    assert "On sale: 100 left." in dom and re.search(r'<button id="buy">', dom), dom


@pytest.mark.slow
def test_the_page_is_whole_before_during_and_after_a_switch(gateway, tmp_path):
    """A quarter of the visits, then half, then all; and back. The page is kept for two seconds at most."""
    for share in (0.25, 0.5):
        answer = gateway.admin("PATCH", "/admin/v1/routes/page", {"split": [{"pool": "green", "share": share, "by": "request"}]},
                               {**ANY_VERSION, "Content-Type": "application/merge-patch+json"})
        assert answer.status == 200, answer
        for number in range(3):
            dom = see(gateway, tmp_path, f"during-{share}-{number}")
            assert version(dom) in ("blue", "green") and len(items(dom, "reviews")) == 2 and "On sale" in dom
    switch(gateway, "green")
    wait_until(lambda: 'data-version="green"' in call(gateway.port, "GET", "/").text, what="the other version")
    dom = see(gateway, tmp_path, "after")
    assert version(dom) == "green" and len(items(dom, "reviews")) == 2 and "On sale" in dom
    gateway.admin("PATCH", "/admin/v1/routes/page", {"split": []}, {**ANY_VERSION, "Content-Type": "application/merge-patch+json"})
    switch(gateway, "blue")
    wait_until(lambda: 'data-version="blue"' in call(gateway.port, "GET", "/").text, what="the first version")


@pytest.mark.slow
def test_the_page_is_there_without_its_recommendations(gateway, parts, tmp_path):
    parts["recommendations"].kill()
    try:
        def substitute():
            dom = see(gateway, tmp_path, "substitute")
            return items(dom, "recommendations") == ["A lamp, once more"] and dom
        dom = wait_until(substitute, 30, what="the substitute")
        assert version(dom) == "blue" and len(items(dom, "reviews")) == 2 and "On sale" in dom
    finally:
        parts["recommendations"].start()
    wait_until(lambda: len(items(see(gateway, tmp_path, "back"), "recommendations")) == 3, 30, what="the service's own")


def test_a_list_that_is_empty_for_now_says_so(gateway, parts, tmp_path):
    parts["reviews"].kill()
    try:
        assert gateway.admin("POST", "/admin/v1/caches/default/purge", {"prefix": "/reviews/"}).status == 200  # else what was kept is shown

        def substitute():
            dom = see(gateway, tmp_path, "empty")
            return items(dom, "reviews") == ["Back soon."] and dom
        dom = wait_until(substitute, 30, what="the substitute")
        assert version(dom) == "blue" and "On sale" in dom
    finally:
        parts["reviews"].start()
    wait_until(lambda: len(items(see(gateway, tmp_path, "reviews back"), "reviews")) == 2, 30, what="the service's own")
