"""The reference configurations of proxies drop what a client says of itself: each field that the gateway forwards from a trusted proxy alone."""
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = re.findall(r'NAME\("([^"]+)"\), TO_SHOP, (?:BELIEVED|KNOWN|OVERRIDE)', (ROOT / "gateway/upstream/fields.c").read_text(encoding="utf-8"))
FIELDS = {name.lower() for name in TABLE} | {"x-user-id", "penstock-rehearsal", "forwarded", "x-forwarded-for"}


def nginx(text):
    """Those of the location that serves the shop's pages, which is commented out."""
    pages = text[text.index("To serve the shop's pages"):text.index("Probes, metrics and the admin listener")]
    return set(re.findall(r"proxy_set_header (\S+) ", pages))


def haproxy(text):
    """Those of the buyers' frontend; a rule for a beginning drops every field that begins so."""
    front = text[:text.index("frontend rehearsal")]
    begin = re.findall(r"http-request del-header (\S+) -m beg", front)
    return {name for name in FIELDS if name.startswith(tuple(word.lower() for word in begin))} | set(
        re.findall(r"http-request (?:set|del)-header (\S+)(?! -m)(?: .*)?$", front, re.M))


def envoy(text):
    return set(re.findall(r"- remove: (\S+)", text))


def varnish(text):
    return set(re.findall(r"^ {4}(?:unset|set) req\.http\.([\w-]+)", text, re.M))


@pytest.mark.parametrize("path,fields_of", [("nginx/penstock.conf", nginx), ("haproxy/haproxy.cfg", haproxy), ("envoy/envoy.yaml", envoy),
                                            ("varnish/penstock.vcl", varnish)])
def test_each_reference_drops_or_overwrites_every_field_that_the_gateway_would_believe(path, fields_of):
    assert len(TABLE) > 15
    dropped = {name.lower() for name in fields_of((ROOT / "deploy" / path).read_text(encoding="utf-8"))}
    assert not FIELDS - dropped, f"deploy/{path} lets through {sorted(FIELDS - dropped)}"
