"""The console in a browser: signing in, what it shows, what it keeps, what it refuses."""
import contextlib
import http.server
import re
import signal
import threading

from browser import FOREIGN, PHONE, new_token
from penstock import ANY_VERSION, PATIENT_LOG, Gateway, free_port, wait_until

RUN = {"title": "Quiet page", "steps": [{"override": {"target": "feature:routes_extra", "value": "off"}}], "ttl_s": 900}


# --- signing in ---


def test_a_wrong_token_is_said_plainly_and_a_right_one_signs_in(gateway, console):
    window = console()
    assert window.page.get_attribute("#token", "type") == "password" and window.page.get_attribute("#token", "autocomplete") == "current-password"
    window.sign_in("pst_" + "x" * 43)
    window.shows(".fault", "does not take the token")
    assert window.page.evaluate("document.activeElement.id") == "token"
    window.sign_in().live()
    assert window.page.locator("#token").count() == 0
    assert gateway.token not in window.page.content()


def test_an_empty_field_asks_no_gateway(console):
    window = console()
    window.page.click("button[type=submit]")
    window.shows(".fault", "Enter a token")


def test_the_token_is_kept_by_nothing_but_the_page(gateway, console):
    window = console().sign_in().live()
    kept = window.page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, history.state, location.href, name])")
    assert gateway.token not in kept and window.context.cookies() == []
    window.page.reload()
    window.shows("#token")


def test_a_revoked_token_returns_to_the_sign_in_and_keeps_nothing(gateway, console):
    name = gateway.make_sale("kept-by-nobody")
    identity, secret = new_token(gateway, "operator")
    window = console().sign_in(secret).live()
    window.shows(".sale", name)
    assert gateway.admin("DELETE", f"/admin/v1/tokens/{identity}", headers=ANY_VERSION).status == 204
    window.shows(".fault", "no longer takes the token")
    window.shows("#token")
    assert name not in window.page.content() and secret not in window.page.content()
    gateway.admin("POST", f"/admin/v1/sales/{name}/end", {})


def test_signing_out_leaves_nothing(gateway, console):
    window = console().sign_in().live()
    window.page.get_by_role("button", name="Sign out").click()
    window.shows("#token")
    assert window.text(".fault") == ""


# --- the first page ---


def test_figures_of_a_sale_appear_and_move(gateway, console):
    name = gateway.make_sale(stock=50)
    window = console().sign_in().live()
    card = window.page.locator(".sale", has_text=name)
    card.get_by_text("left 50").wait_for()
    assert gateway.buy(name, "ann").status == 202
    card.get_by_text("left 49").wait_for()
    card.get_by_text("held 1").wait_for()
    assert window.page.locator("canvas").count() >= 3
    assert re.search(r"\d\d:\d\d:\d\d", window.text(".pulse"))
    gateway.admin("POST", f"/admin/v1/sales/{name}/end", {})
    card.wait_for(state="detached")


def test_a_dead_gateway_is_said_within_three_seconds_and_comes_back_by_itself(console):
    with Gateway(settings=PATIENT_LOG) as own:
        window = console(own).sign_in().live()
        own.kill()
        window.page.wait_for_selector(".stale-bar:not([hidden])", timeout=3000)
        assert "Out of date" in window.text(".stale-bar") and "is-stale" in window.page.get_attribute("main", "class")
        own.start()
        window.page.wait_for_selector(".stale-bar", state="hidden")
        window.live()


def test_a_stopped_gateway_is_said_too(console):
    with Gateway(settings=PATIENT_LOG) as own:
        window = console(own).sign_in().live()
        with stopped(own):
            window.page.wait_for_selector(".stale-bar:not([hidden])")
        window.page.wait_for_selector(".stale-bar", state="hidden")


@contextlib.contextmanager
def stopped(gateway):
    gateway.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        gateway.process.send_signal(signal.SIGCONT)


def test_an_override_is_shown_with_the_time_that_is_left_and_ended_with_a_reason(gateway, console):
    gateway.override("feature:exports", "off", reason="the disk is nearly full")
    window = console().sign_in().live()
    row = window.page.locator(".not-normal li", has_text="feature:exports")
    row.get_by_text("the disk is nearly full").wait_for()
    assert re.search(r"ends in \d+ min", row.inner_text())
    row.get_by_role("button", name="End").click()
    dialog = window.page.get_by_role("dialog")
    assert "off" in dialog.inner_text() and "on" in dialog.inner_text()
    dialog.get_by_role("button", name="End it").click()
    dialog.get_by_text("Give a reason").wait_for()
    assert "feature:exports" in gateway.overrides()
    dialog.get_by_role("textbox").fill("the disk is empty again")
    dialog.get_by_role("button", name="End it").click()
    row.wait_for(state="detached")
    assert "feature:exports" not in gateway.overrides()
    last = [line for line in gateway.admin("GET", "/admin/v1/audit-log").lines() if line.get("target", "").endswith("feature:exports")][-1]
    assert "the disk is empty again" in str(last), last


def test_a_run_of_a_plan_is_shown_and_reverted(gateway, console):
    assert gateway.admin("PUT", "/admin/v1/plans/quiet", RUN).status == 201
    run = gateway.admin("POST", "/admin/v1/plans/quiet/runs", {"reason": "of a test"}).json["run"]
    window = console().sign_in().live()
    row = window.page.locator(".not-normal li", has_text="quiet")
    row.get_by_role("button", name="Revert").click()
    window.page.get_by_role("dialog").get_by_role("textbox").fill("enough")
    window.page.get_by_role("dialog").get_by_role("button", name="Revert").click()
    row.wait_for(state="detached")
    wait_until(lambda: gateway.admin("GET", f"/admin/v1/runs/{run}").json["end"] == "reverted", what="the end of the run")


def test_who_may_only_look_is_offered_no_button(gateway, console):
    gateway.override("feature:exports", "off")
    window = console().sign_in(new_token(gateway, "viewer")[1]).live()
    window.shows(".not-normal li", "feature:exports")
    assert window.page.locator(".not-normal button").count() == 0
    gateway.end_override("feature:exports")


def test_words_of_strangers_are_text(gateway, console):
    gateway.override("feature:exports", "off", reason="<img src=x onerror=document.title='owned'><b>bold</b>")
    window = console().sign_in().live()
    window.shows(".not-normal li", "<b>bold</b>")
    assert window.page.title() != "owned" and window.page.locator(".not-normal img").count() == 0
    gateway.end_override("feature:exports")


# --- every reader ---


def test_a_phone_shows_all_of_it_without_scrolling_sideways(gateway, console):
    gateway.override("feature:exports", "off", reason="a reason as long as people write them when they are in a hurry, " * 2)
    name = gateway.make_sale("a-sale-with-the-longest-name-that-a-sale-may-have-0123456789")
    window = console(size=PHONE).sign_in().live()
    window.shows(".sale", name)
    assert window.width() == PHONE["width"]
    assert window.page.get_by_role("button", name="End: feature:exports").is_visible()
    window.page.get_by_role("button", name="Menu").click()
    assert window.page.get_by_role("link", name="Now").is_visible() and window.page.get_by_role("button", name="Sign out").is_visible()
    gateway.end_override("feature:exports")
    gateway.admin("POST", f"/admin/v1/sales/{name}/end", {})


def test_everything_goes_by_keyboard_alone(gateway, console):
    gateway.override("feature:exports", "off")
    window = console()
    window.page.keyboard.type(gateway.token)
    window.page.keyboard.press("Enter")
    window.live()
    window.shows(".not-normal li", "feature:exports")
    focused = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
    for _ in range(30):
        window.page.keyboard.press("Tab")
        if window.page.evaluate(focused).startswith("End: feature:exports"):
            break
    outline = window.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert window.page.evaluate(focused).startswith("End: ") and outline == "solid"
    window.page.keyboard.press("Enter")
    window.page.get_by_role("dialog").wait_for()
    window.page.keyboard.press("Escape")
    window.page.get_by_role("dialog").wait_for(state="detached")
    assert window.page.evaluate(focused).startswith("End: ")
    window.page.keyboard.press("Enter")
    window.page.get_by_role("dialog").wait_for()
    window.page.keyboard.type("by keyboard")
    window.page.keyboard.press("Enter")
    wait_until(lambda: "feature:exports" not in gateway.overrides(), what="the end of the override")


def brightness(window, selector):
    red, green, blue = map(int, re.findall(r"\d+", window.page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).backgroundColor"))[:3])
    return red + green + blue


def test_dark_and_light_as_the_browser_says_until_the_reader_chooses(console):
    window = console(look="dark").sign_in().live()
    assert brightness(window, "body") < 200
    window.page.get_by_role("button", name="Light").click()
    assert brightness(window, "body") > 600
    window.page.reload()
    window.shows("#token")
    assert brightness(window, "body") > 600
    assert brightness(console(look="light"), "body") > 600


ENGLISH = re.compile(r"[A-Za-z]{3,}")


def test_chinese_leaves_no_english_but_names_of_the_api(gateway, console):
    gateway.override("feature:exports", "off", reason="磁盘将满")
    name = gateway.make_sale()
    window = console(locale="zh-CN")
    assert window.page.evaluate("document.documentElement.lang") == "zh-CN"
    sign_in = window.text()
    window.sign_in().live()
    window.shows(".sale", name)
    shown = window.page.evaluate("""() => { const all = document.body.cloneNode(true); all.querySelectorAll('code, [lang=en]').forEach(node => node.remove()); return all.textContent; }""")
    labels = window.page.evaluate("[...document.querySelectorAll('[aria-label], [title]')].map(node => (node.getAttribute('aria-label') ?? '') + ' ' + (node.title ?? '')).join(' ')")
    for text in (sign_in.replace("English", ""), shown, labels):
        for known in ("Penstock", name, gateway.admin("GET", "/admin/v1/whoami").json["gateway"], "first", "feature:exports"):
            text = text.replace(known, "")
        assert not ENGLISH.findall(text), ENGLISH.findall(text)
    window.page.get_by_role("button", name="English").click()
    window.shows("h1", "Now")
    assert window.page.evaluate("document.documentElement.lang") == "en-GB"
    gateway.end_override("feature:exports")
    gateway.admin("POST", f"/admin/v1/sales/{name}/end", {})


# --- whoever means harm ---


def test_the_policy_runs_no_script_that_is_injected(gateway, console):
    window = console().sign_in().live()
    assert not injects_by_text(window)
    window.page.evaluate("""() => {
        const attempt = fn => { try { fn(); } catch { /* refused at once */ } };
        attempt(() => { const inline = document.createElement('script'); inline.append('globalThis.owned = 1'); document.body.append(inline); });
        attempt(() => { const foreign = document.createElement('script'); foreign.src = 'data:text/javascript,globalThis.owned=2'; document.body.append(foreign); });
        attempt(() => { const image = document.createElement('img'); image.setAttribute('onerror', 'globalThis.owned = 3'); image.src = '/console/none.svg'; document.body.append(image); });
    }""")
    window.page.wait_for_timeout(500)
    assert window.page.evaluate("globalThis.owned") is None


def injects_by_text(window):
    """May a text become HTML or a script? The policy demands types that nobody makes."""
    return window.page.evaluate("""() => ['innerHTML', 'outerHTML'].some(sink => { try { document.createElement('p')[sink] = '<b>x</b>'; return true; } catch { return false; } })
        || (() => { try { document.createElement('script').text = 'globalThis.owned = 4'; return true; } catch { return false; } })()""")


def test_a_foreign_name_that_leads_here_is_refused(gateway, browser):
    context = browser.new_context()
    answer = context.new_page().goto(f"http://{FOREIGN}:{gateway.admin_port}/console/")
    assert answer.status == 421 and "token" not in answer.text().lower()
    context.close()


@contextlib.contextmanager
def site(page):
    """A site of somebody else's."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_):
            pass

    port = free_port()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{FOREIGN}:{port}/"
    finally:
        server.shutdown()
        server.server_close()


def test_a_link_from_another_site_opens_it_and_a_frame_does_not(gateway, browser):
    url = f"http://127.0.0.1:{gateway.admin_port}/console/"
    with site(f'<a href="{url}">link</a><iframe src="{url}"></iframe>') as foreign:
        context = browser.new_context()
        page = context.new_page()
        statuses = {}
        page.on("response", lambda response: statuses.setdefault(response.url, response.status))
        page.goto(foreign)
        wait_until(lambda: page.wait_for_timeout(50) or url in statuses, what="the frame's answer")
        assert statuses[url] == 403
        page.get_by_role("link").click()
        page.wait_for_selector("#token")
        context.close()


def test_charts_come_when_their_library_has_failed_to_load_at_first(console, gateway):
    one, failed = console(), []
    one.page.route("**/uplot.js", lambda route: (failed.append(route), route.abort() if len(failed) == 1 else route.continue_()))
    one.open()
    wait_until(lambda: one.page.wait_for_timeout(50) or failed, what="uplot.js to fail")
    one.sign_in().live()
    one.page.locator(".canvas canvas").first.wait_for()
