"""Who may do what in the console, in both languages and looks, on a phone, and for those who cannot see it."""
import re

import pytest
from browser import PHONE, Console, new_token
from console_pages import PAGES, Operator
from penstock import ANY_VERSION

READS = {"GET"}
# So high that the bar of buttons, which stays in sight, covers nothing.
TALL = {"width": 1280, "height": 6000}


@pytest.mark.slow
def test_a_viewer_is_offered_nothing_that_the_role_may_not_do(browser, desk_gateway):
    """Each button of each page is pressed: nothing is sent that changes anything, and nothing is refused."""
    refused = []
    with Operator(browser, desk_gateway, new_token(desk_gateway, "viewer")[1]) as desk:
        desk.page.on("response", lambda answer: refused.append(answer.url) if answer.status in (401, 403) else None)
        assert not desk.page.get_by_role("link", name="Tokens").count()
        for path in PAGES:
            desk.go(path)
            for i in range(desk.page.locator("main button:visible").count()):
                button = desk.page.locator("main button:visible").nth(i)
                if button.count() and button.is_enabled():
                    button.click()
                    desk.page.wait_for_function("() => document.querySelector('dialog[open]') || !document.querySelector('main button:disabled')")
                    if desk.page.locator("dialog[open]").count():
                        desk.page.keyboard.press("Escape")
            assert not desk.page.locator('main a[href*="new=1"], main .danger').count(), path
        changes = [(method, url) for method, url in desk.sent if method not in READS and (method, url) != ("POST", "explain")]
        assert not changes and not refused, (changes, refused)


def test_an_operator_is_offered_no_tokens(browser, desk_gateway):
    with Operator(browser, desk_gateway, new_token(desk_gateway, "operator")[1]) as desk:
        assert not desk.page.get_by_role("link", name="Tokens").count()
        desk.go("tokens")
        assert "may not open this page" in desk.text()
        desk.go("limits/ip")
        assert desk.button("Save…").count()


def test_a_token_that_is_removed_leads_back_to_the_sign_in_and_nothing_is_kept(browser, desk_gateway):
    name, secret = new_token(desk_gateway, "operator")
    with Operator(browser, desk_gateway, secret) as desk:
        desk.go("limits/ip")
        desk.field("/rate").fill("12345")
        assert desk_gateway.admin("DELETE", f"/admin/v1/tokens/{name}", headers=ANY_VERSION).status == 204
        desk.page.wait_for_selector("#token")
        text = desk.page.inner_text("body")
        assert "no longer takes the token" in text and "12345" not in text and "period_s" not in text
        kept = desk.page.evaluate("() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, history.state])")
        assert secret not in kept and "12345" not in kept and secret not in desk.page.content(), kept
        desk.sign_in(new_token(desk_gateway, "operator")[1])
        desk.go("limits/ip")
        assert desk.field("/rate").input_value() == "50"


@pytest.mark.slow
@pytest.mark.parametrize("language, look", [("en", "light"), ("en", "dark"), ("zh", "light"), ("zh", "dark")])
def test_axe_finds_no_violation_of_wcag_aa_on_any_page(browser, desk_gateway, language, look):
    with Operator(browser, desk_gateway, language=language, look=look, size=TALL) as desk:
        wrong = {}
        for path in (*PAGES, "tokens", "limits?new=1", "plans?new=1"):
            desk.go(path)
            if found := desk.violations():
                wrong[path] = found
            unknown = re.findall(r"\b(?:doc|form|diff|dry|list|history|kind|sales|limits|plans|runs|override|explain|watches|audit|tokens|nav|unit)\.[a-z_]+(?:\.[a-z_]+)*\b", desk.prose())
            assert not unknown, (path, unknown)
        assert not wrong, wrong


def test_axe_finds_nothing_in_a_dialog_and_in_a_difference(browser, desk_gateway):
    with Operator(browser, desk_gateway, size=TALL) as desk:
        desk.go("limits/ip")
        desk.field("/rate").fill("44")
        desk.press("Save…")
        desk.dialog()
        assert not desk.violations()
        desk.page.keyboard.press("Escape")
        answer = desk_gateway.admin("PATCH", "/admin/v1/limits/ip", {"rate": 60, "reason": "theirs"}, ANY_VERSION)
        assert answer.status == 200
        desk.press("Save…")
        desk.page.wait_for_selector(".meanwhile")
        assert not desk.violations()
        desk_gateway.limit("ip", rate=50)
        desk.go("plans/page-slow")
        desk.press("Run…")
        desk.dialog()
        assert not desk.violations()


# Names that are the same in Chinese, and what people have written in the documents of these tests.
SAME = ("Penstock", "SKU", "JSON", "CSV", "HTTP", "Redis", "Kafka", "CPU", "PSI", "SHA-256", "scripted", "ticket 4711", "a test", "of a test", "made at the first start", "first",
        "theirs", "The page gives way", "When the page is slow after the opening.", "spring")


def english(desk):
    """What is English on the page, sentences that said() could not translate included, but for names in code, choices of the API, and what is typed."""
    shown = desk.page.evaluate("""() => {
        const copy = document.body.cloneNode(true), parts = [...copy.querySelectorAll('code[lang=en]')].map(one => one.textContent).filter(text => text.replace(/"[^"]*"/g, '').trim().includes(' '));
        copy.querySelectorAll('code, pre, textarea, option, [lang=en]').forEach(one => one.remove());
        const walker = document.createTreeWalker(copy, NodeFilter.SHOW_TEXT);
        while (walker.nextNode())
            parts.push(walker.currentNode.data);
        return parts;
    }""")
    known = re.compile("|".join(map(re.escape, sorted((*SAME, desk.gateway.admin("GET", "/admin/v1/whoami").json["gateway"]), key=len, reverse=True))))
    return [text for text in shown if re.search(r"[A-Za-z]{3,}", known.sub("", text))]


@pytest.mark.slow
def test_chinese_pages_have_no_english_but_names_of_the_api(browser, desk_gateway):
    with Operator(browser, desk_gateway, language="zh") as desk:
        left = {}
        for path in (*PAGES, "tokens", "limits?new=1", "plans?new=1"):
            desk.go(path)
            if found := english(desk):
                left[path] = found
        assert not left, left


def test_what_the_gateway_says_is_chinese_in_a_chinese_console(browser, desk_gateway):
    ref = desk_gateway.buy("spring", "mallory").json["ref"]
    with Operator(browser, desk_gateway, language="zh") as desk:
        desk.go("limits/ip")
        desk.field("/rate").fill("many")
        desk.field("/period_s").fill("0")
        desk.press("保存…")
        desk.page.wait_for_selector('[aria-invalid="true"]')
        assert desk.text('[data-pointer="/rate"] .faults') == "应为整数，1 至 1000000 个请求，而不是字符串；例如 5"
        assert "有值不符合要求" in desk.text(".says") and not english(desk), english(desk)
        desk.go(f"explain?ref={ref}")
        desk.page.get_by_text("用户或地址在黑名单上。").first.wait_for()
        assert "请查看黑名单" in desk.text(".answer") and not english(desk), english(desk)
        desk_gateway.override("feature:exports", "off", reason="磁盘将满")
        desk.go("features")
        assert "由 first 临时覆盖：磁盘将满" in desk.text() and not english(desk), english(desk)
        desk_gateway.end_override("feature:exports")
        desk.go("pools/blue")
        desk.press("删除…")
        desk.page.wait_for_selector(".refusal")
        assert "网关拒绝： 正在使用" in desk.text(".refusal") and not english(desk), english(desk)


def refuse(desk, path, sentence):
    desk.page.route(f"**/admin/v1/{path}", lambda route: route.fulfill(status=409, content_type="application/problem+json", json={
        "title": "Conflicts with the present state", "status": 409, "code": "conflict", "detail": sentence}))


def test_what_has_no_chinese_yet_is_shown_as_the_gateway_says_it(browser, desk_gateway):
    sentence = "a sentence of a newer gateway"
    with Operator(browser, desk_gateway, language="zh") as desk:
        refuse(desk, "runs*", sentence)
        desk.go("runs")
        desk.said("与当前状态冲突")
        assert desk.text('.notices code[lang="en"]') == sentence and set(english(desk)) == {sentence}, english(desk)


@pytest.mark.parametrize("reason", ["delete 5 entries", "two racks, each half full", "ann: status unknown"])
def test_the_words_of_an_operator_are_never_translated(browser, desk_gateway, reason):
    desk_gateway.override("feature:exports", "off", reason=reason)
    with Operator(browser, desk_gateway, language="zh") as desk:
        desk.go("features/exports")
        desk.page.locator(".panel").get_by_text(f"由 first 临时覆盖：{reason}").wait_for()
    desk_gateway.end_override("feature:exports")


REFUSALS = {
    "the sale is not open yet: change the stock in its document": "活动尚未开售：请在其文档里修改库存",
    'unknown target; did you mean "limit:ip"?; it must be a target: level, feature:NAME, breaker:NAME, flow:TARGET, fallback:ROUTE, split:ROUTE:POOL or limit:RULE':
        "没有这个对象；是否想写 limit:ip？应为对象之一：level、feature:NAME、breaker:NAME、flow:TARGET、fallback:ROUTE、split:ROUTE:POOL、limit:RULE",
    "the limit rule exists: send the version that you change in If-Match": "限流规则 已存在：请在 If-Match 中写明要修改的版本",
    "cannot be taken back:/rate must not be 0": "无法还原（/rate）：不能为 0",
}


def test_refusals_are_chinese_also_after_a_change_of_the_language_on_the_first_page(browser, desk_gateway):
    with Operator(browser, desk_gateway) as desk:
        desk.page.get_by_role("button", name="中文").first.click()
        desk.live()
        desk.page.get_by_role("button", name="结束").first.wait_for()
        for sentence, translated in REFUSALS.items():
            refuse(desk, "overrides/*", sentence)
            desk.page.get_by_role("button", name="结束").first.click()
            desk.said(translated)


def test_a_refusal_at_the_sign_in_is_chinese(browser, desk_gateway):
    console = Console(browser, desk_gateway, locale="zh-CN").open()
    console.page.route("**/admin/v1/whoami", lambda route: route.fulfill(status=503, content_type="application/problem+json", json={"title": "Overloaded", "status": 503, "detail": "out of memory"}))
    console.sign_in()
    console.shows("#fault", "内存不足")
    console.close()


def test_why_the_level_and_an_endpoint_are_as_they_are_is_chinese(browser, desk_gateway):
    desk_gateway.override("level", 1)
    desk_gateway.end_override("level")
    desk_gateway.admin("PUT", "/admin/v1/pools/drained", {"endpoints": [{"address": "127.0.0.1:9", "drain": True}]})
    with Operator(browser, desk_gateway, language="zh") as desk:
        desk.go("overload")
        desk.page.locator(".panel").get_by_text("临时覆盖已结束").wait_for()
        assert not english(desk), english(desk)
        desk.go("endpoints")
        desk.page.get_by_text("按其文档下线").wait_for()
        assert not english(desk), english(desk)
    desk_gateway.admin("DELETE", "/admin/v1/pools/drained", headers=ANY_VERSION)


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_page_is_wider_than_a_phone(browser, desk_gateway, language):
    with Operator(browser, desk_gateway, language=language, size=PHONE) as desk:
        wide = []
        for path in (*PAGES, "tokens"):
            desk.go(path)
            if desk.page.evaluate("() => document.documentElement.scrollWidth > innerWidth"):
                wide.append(path)
        assert not wide
