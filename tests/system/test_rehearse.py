"""The load tool as an operator meets it: what it is told wrong it says at once, and it leaves nothing behind."""
import os
import subprocess

import pytest
from faults import preloaded
from penstock import REHEARSE, Gateway, free_port

# "localhost" as many machines have it: ::1 first.
NAMES = """#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (node == NULL || strcmp(node, "localhost") != 0)
        return real(node, service, hints, found);
    int failed = real("::1", service, hints, found);
    return failed != 0 ? failed : real("127.0.0.1", service, hints, &(*found)->ai_next);
}
"""


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as g:
        yield g


def rehearse(gateway, *options, public=None, env=None):
    words = [REHEARSE, "--public", public or f"http://127.0.0.1:{gateway.port}", "--admin", f"http://127.0.0.1:{gateway.admin_port}",
             "--state-dir", gateway.state, "--buyers", "50", "--stock", "10", "--over", "1s", *options]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})})


def sales(gateway):
    return {sale["sale"]: sale["state"] for sale in gateway.admin("GET", "/admin/v1/sales").json["sales"] if sale["sale"].startswith("rehearsal-")}


def test_a_report_that_cannot_be_written_is_said_before_anybody_comes(gateway, tmp_path):
    before = sales(gateway)
    for option in ("--json", "--html"):
        done = rehearse(gateway, option, tmp_path / "no-such-directory" / "report")
        assert done.returncode == 2 and option in done.stderr and "No such file or directory" in done.stderr, done
    assert sales(gateway) == before


def test_a_rehearsal_that_nobody_answers_leaves_no_open_sale(gateway):
    done = rehearse(gateway, public=f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1, done
    assert set(sales(gateway).values()) == {"archived"}, done


def test_localhost_is_the_address_that_answers(gateway, tmp_path):
    done = rehearse(gateway, public=f"http://localhost:{gateway.port}", env=preloaded(tmp_path, NAMES))
    assert done.returncode == 0, done
