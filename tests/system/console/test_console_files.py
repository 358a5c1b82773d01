"""The files of the console, as any client gets them: no token, but a Host that is served; strict headers; nothing beside the files."""
import gzip
import re

import pytest
from penstock import call, raw

INDEX = "/console/"


def get(gateway, path=INDEX, method="GET", **headers):
    return call(gateway.admin_port, method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_the_page_and_its_files_need_no_token_and_everything_else_does(gateway):
    page = get(gateway)
    assert page.status == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    files = set(re.findall(r'(?:src|href)="([^"]+)"', page.text))
    assert len(files) > 8
    types = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
    for name in files:
        answer = get(gateway, INDEX + name)
        assert answer.status == 200 and answer.headers["content-type"] == types[name.rsplit(".", 1)[1]], name
    for path in ("/admin/v1/events", "/admin/v1/whoami", "/admin/v1/overload", "/admin/console", "/consoles", "/console/a/b", "/console//"):
        assert get(gateway, path).status == 401, path


def test_every_answer_is_strict(gateway):
    for path in (INDEX, INDEX + "main.js", INDEX + "style.css"):
        headers = get(gateway, path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["img-src"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers


def test_a_file_is_sent_compressed_and_once(gateway):
    path = INDEX + "style.css"
    plain, short = get(gateway, path), get(gateway, path, Accept_Encoding="gzip, br")
    assert "content-encoding" not in plain.headers and short.headers["content-encoding"] == "gzip"
    assert plain.headers["vary"] == short.headers["vary"] == "Accept-Encoding" and plain.headers["cache-control"] == "no-cache"
    body = raw(gateway.admin_port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n".encode()).split(b"\r\n\r\n", 1)[1]
    assert gzip.decompress(body).decode() == plain.text and len(body) < len(plain.text) / 2
    again = get(gateway, path, If_None_Match=plain.headers["etag"])
    assert again.status == 304 and again.text == "" and again.headers["etag"] == plain.headers["etag"]
    assert get(gateway, path, If_None_Match='"another"').status == 200


def test_the_folder_without_its_slash_leads_there_and_a_query_is_ignored(gateway):
    answer = get(gateway, "/console")
    assert answer.status == 308 and answer.headers["location"] == INDEX
    assert get(gateway, "/console/?from=a-mail").status == 200


def test_head_and_methods(gateway):
    whole, head = get(gateway, INDEX + "main.js"), get(gateway, INDEX + "main.js", method="HEAD")
    assert head.status == 200 and head.text == "" and head.headers["content-length"] == str(len(whole.text.encode()))
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert get(gateway, method=method).status == 401
        answer = gateway.admin(method, INDEX)
        assert answer.status == 405 and answer.headers["allow"] == "GET, HEAD, OPTIONS", answer


@pytest.mark.parametrize("path", ["../admin.token", "..%2fadmin.token", "%2e%2e/tokens.json", "..", ".", "%2e", "main.js/", "main.js%00", "MAIN.JS", "./main.js", "..\\admin.token", "index.html%20",
                                  "uplot.LICENSE", "asset.c", "%6Dain.js/x", "main.js;x", "*", "'\"<script>", "a" * 1500])
def test_nothing_beside_the_files_is_reached(gateway, path):
    answer = raw(gateway.admin_port, f"GET /console/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    status = answer.split(b" ", 2)[1]
    assert status in (b"400", b"401", b"404"), answer[:200]
    assert b"pst_" not in answer and b"text/html" not in answer


def test_a_file_is_the_same_in_each_spelling_of_its_name(gateway):
    assert get(gateway, INDEX + "%6dain.js").text == get(gateway, INDEX + "main.js").text


@pytest.mark.parametrize("host", ["foreign.test", "localhost.foreign.test", "127.0.0.1.foreign.test", "foreign.test:80", "[::2]"])
def test_a_host_that_is_not_served_is_refused(gateway, host):
    for path in (INDEX, INDEX + "main.js", "/console"):
        answer = get(gateway, path, Host=host)
        assert answer.status == 421 and answer.code == "misdirected", answer


def test_another_site_may_link_to_the_page_and_neither_embed_nor_read_it(gateway):
    for site in ("cross-site", "same-site"):
        fetched = {"Sec_Fetch_Site": site}
        assert get(gateway, **fetched, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="document").status == 200
        assert get(gateway, **fetched, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="iframe").status == 403
        assert get(gateway, **fetched, Sec_Fetch_Mode="cors", Sec_Fetch_Dest="empty").status == 403
        assert get(gateway, INDEX + "main.js", **fetched, Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="script").status == 403
    assert get(gateway, INDEX + "main.js", Sec_Fetch_Site="same-origin").status == 200


def test_a_request_with_a_body_is_answered_and_the_gateway_goes_on(gateway):
    answer = raw(gateway.admin_port, b"GET /console/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    assert answer.split(b" ", 2)[1] == b"400", answer[:200]
    assert get(gateway).status == 200
