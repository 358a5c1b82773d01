"""The console's pages, as an operator uses them: who sees what is on the page and presses its buttons."""
import pathlib
import sys

from browser import Console

# Pages that every role sees, and some documents that a new gateway has, or documents() makes.
PAGES = ("", "sales", "sales/spring", "limits", "limits/ip", "limits/ip?view=history", "blocklist", "blocklist/users/mallory", "blocklist/ips/203.0.113.0%2F24", "routes",
         "routes/page", "pools", "pools/blue", "caches", "caches/default", "features", "features/exports", "overload", "plans", "plans/page-slow", "runs", "overrides", "explain",
         "watches", "watches/bob", "audit", "endpoints", "gateways", "settings")


def documents(gateway, stock=100):
    """Some of each kind, so that each page has something to show."""
    def put(path, document):
        answer = gateway.admin("PUT", "/admin/v1/" + path, document)
        assert answer.status == 201, answer

    gateway.make_sale("spring", stock=stock)
    put("pools/blue", {"endpoints": [{"address": "127.0.0.1:9"}]})
    put("pools/green", {"endpoints": [{"address": "127.0.0.1:10", "weight": 2}], "discovery": {"registration": True}})
    put("routes/page", {"path": "/", "pool": "blue", "split": [{"pool": "green", "share": 0.05, "return": {"errors_above": 0.02}}], "cache": {},
                        "fallback": [{"kind": "stale"}, {"kind": "static", "status": 503, "body": "<h1>Soon</h1>"}]})
    put("blocklist/users/mallory", {"ttl_s": 3600, "reason": "scripted"})
    put("blocklist/ips/203.0.113.0-24", {"reason": "scripted"})
    put("watches/bob", {"ttl_s": 3600, "reason": "ticket 4711"})
    put("plans/page-slow", {"title": "The page gives way", "text": "When the page is slow after the opening.", "ttl_s": 900, "when": [{"sale": "spring", "state": "open"}],
                            "steps": [{"patch": {"kind": "limit", "name": "ip", "with": {"rate": 20}}},
                                      {"put": {"kind": "block_ip", "name": "198.51.100.0/24", "doc": {"reason": "bots"}}},
                                      {"override": {"target": "level", "value": 2}}]})
    gateway.override("limit:polling", "shadow")


def axe():
    """The source of axe-core. browser.playwright() has found its package."""
    return next(path for folder in sys.path for path in pathlib.Path(folder).glob("axe_playwright_python/axe.min.js")).read_text(encoding="utf-8")


class Operator(Console):
    """Signed in, in English or Chinese."""

    def __init__(self, browser, gateway, token=None, language="en", **more):
        super().__init__(browser, gateway, locale={"en": "en-GB", "zh": "zh-CN"}[language], **more)
        self.sent = []
        self.page.on("request", lambda request: self.sent.append((request.method, request.url.partition("/admin/v1/")[2])))
        self.open()
        self.sign_in(token)
        self.live()

    def __enter__(self):
        return self

    def __exit__(self, kind, *what):
        if kind is None:
            self.close()
        else:
            self.context.close()

    def go(self, path):
        """By the address, as a bookmark leads there; returns when the page has its heading and what it asked for."""
        self.page.evaluate("path => { document.querySelector('main').replaceChildren(); location.hash = '#/' + path; dispatchEvent(new HashChangeEvent('hashchange')); }", path)
        self.page.wait_for_selector("main h1, main h2, main .page > *")
        self.settle()

    def settle(self):
        """Until nothing has been drawn for a while."""
        self.page.evaluate("""() => new Promise(resolve => {
            let last = performance.now();
            const seen = new MutationObserver(() => last = performance.now());
            seen.observe(document.querySelector('main') ?? document.body, {childList: true, subtree: true});
            const timer = setInterval(() => performance.now() - last > 400 && (clearInterval(timer), seen.disconnect(), resolve()), 50);
            setTimeout(() => (clearInterval(timer), resolve()), 4000);
        })""")

    def text(self, selector="main"):
        return super().text(selector)

    def prose(self):
        """Without names of the API, which stand in code, and what may be typed."""
        return self.page.evaluate("""() => {
            const copy = document.querySelector('main').cloneNode(true);
            copy.querySelectorAll('code, pre, textarea').forEach(one => one.remove());
            return copy.textContent;
        }""")

    def button(self, name, within="main"):
        return self.page.locator(within).get_by_role("button", name=name, exact=True)

    def press(self, name, within="main"):
        self.button(name, within).click()

    def field(self, member):
        """The control of a member of the document, by its JSON pointer."""
        return self.page.locator(f'[data-pointer="{member}"] :is(input, select, textarea)').first

    def dialog(self):
        """The text of the dialog that is open."""
        self.page.wait_for_selector("dialog[open]")
        return self.text("dialog[open]")

    def answer(self, name, reason="a test", **fields):
        """Fills the dialog that is open and presses a button of it."""
        box = self.page.locator("dialog[open]")
        for label, value in fields.items():
            box.get_by_label(label.replace("_", " ")).fill(value)
        if reason is not None:
            box.get_by_label("Reason", exact=False).fill(reason)
        box.get_by_role("button", name=name, exact=True).click()

    def said(self, words):
        """A notice with these words comes."""
        self.page.locator(".notices").get_by_text(words).first.wait_for()

    def violations(self):
        """What axe-core finds against WCAG A and AA."""
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(axe())
        found = self.page.evaluate("""() => axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})""")["violations"]
        return [f"{one['id']}: {node['target']} {node['html'][:160]}" for one in found for node in one["nodes"]]
