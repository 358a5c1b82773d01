"""The page of `penstock-rehearse --live`: the console's first page, with what the simulated buyers see on top."""
import signal
import subprocess

from browser import PATIENCE_MS, PHONE
from penstock import REHEARSE, call, free_port, wait_until


def answers(port):
    try:
        return "timeline" in call(port, "GET", "/crowd").json
    except OSError:
        return False


def test_a_rehearsal_is_watched_in_a_browser_until_it_is_over(gateway, browser):
    port = free_port()
    running = subprocess.Popen([REHEARSE, "--public", f"http://127.0.0.1:{gateway.port}", "--admin", f"http://127.0.0.1:{gateway.admin_port}", "--state-dir", gateway.state,
                                "--buyers", "3000", "--stock", "500", "--over", "60s", "--shape", "constant", "--quiet", "--live", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    context = browser.new_context(locale="en-GB", viewport=PHONE)
    context.set_default_timeout(PATIENCE_MS)
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        wait_until(lambda: answers(port), what="the page of the rehearsal")
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector(".pulse.live")
        page.get_by_role("heading", name="Rehearsal rehearsal-").wait_for()
        page.locator(".sale", has_text="rehearsal-").wait_for()
        clicks = page.locator(".figure", has_text="Clicks").locator("b")
        wait_until(lambda: clicks.inner_text().replace(",", "").isdigit() and int(clicks.inner_text().replace(",", "")) > 50, what="clicks")
        assert page.locator("canvas").count() >= 5 and page.locator("#token").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        running.send_signal(signal.SIGINT)
        page.locator(".stale-bar", has_text="The rehearsal is over").wait_for()
        assert running.wait(60) == 0, running.stderr.read()
    finally:
        running.kill()
        running.wait()
        context.close()
    assert not errors, errors
