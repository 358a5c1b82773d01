"""The documents say what the code does: the reference pages are what the program prints, log events are those of the sources, alerts ask for
what exists, every relative link leads somewhere. And the project speaks of itself only."""
import pathlib
import re
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAN = ROOT / "deploy/man/penstock.8"


def source(name):
    return (ROOT / name).read_text(encoding="utf-8")


def lists(text):
    """const char *const NAME[] = {"a", "b", NULL};"""
    return {name: re.findall(r'"([^"]*)"', body) for name, body in re.findall(r"\bconst char \*const (\w+)\[\] = \{([^}]*)\}", text)}


def tables(text, header):
    """Rows (without head and rule) of the one table that begins with this head."""
    found = re.findall(re.escape(header) + r"\n\|[-|]+\|\n((?:\|.*\n)+)", text)
    assert len(found) == 1, header
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found[0].splitlines()]


def assert_printed(program, directory):
    """Each page that the program prints is the one in docs/reference."""
    subprocess.run([ROOT / "build/dev" / program, "--print-docs", directory], check=True)
    printed = {path.name: path.read_text(encoding="utf-8") for path in directory.iterdir()}
    kept = {name: source(f"docs/reference/{name}") for name in printed if (ROOT / "docs/reference" / name).is_file()}
    assert kept == printed, f"print them again: build/dev/{program} --print-docs docs/reference"


def assert_clean(page):
    done = subprocess.run(["groff", "-mandoc", "-ww", "-z", "-Tutf8", str(page)], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_the_reference_pages_are_what_the_program_prints(tmp_path):
    assert_printed("gateway/penstock", tmp_path)


@pytest.mark.parametrize("page", ["settings", "settle", "documents"])
def test_the_chinese_reference_has_every_member_with_a_text_in_chinese(page):
    def members(name):
        return {member: text for member, text in re.findall(r"^- \*\*`([^`]+)`\*\*((?:.|\n {2})*)", source(f"docs/reference/{name}.md").split("# Metrics")[0], re.M)}
    chinese = members(f"{page}.zh-CN")
    assert list(chinese) == list(members(page))
    assert not [member for member, text in chinese.items() if not re.search("[\u4e00-\u9fff]", text.partition("):\n")[2])]


def test_the_table_of_log_events_has_each_event_of_the_sources_at_its_level():
    call = re.compile(r"ps_log\(([^\"]*?),\s*((?:[^\"(]*?\?\s*)?\"\w+\"(?:\s*:\s*\"\w+\")?)")
    calls, logged = 0, set()
    for path in (*(ROOT / "gateway").rglob("*.c"), ROOT / "common/otlp/log_state.c"):
        text = path.read_text(encoding="utf-8")
        calls += len(re.findall(r"\bps_log\(", text))
        for levels, events in call.findall(text):
            calls -= 1
            logged |= set(zip(re.findall(r'"(\w+)"', events), re.findall(r"PS_LOG_(\w+)", levels)))
    assert calls == 0, "a call of ps_log() that this test cannot read"
    rows = re.findall(r"\bX\((\w+), (ERROR|WARN|INFO|DEBUG),", source("gateway/log_events.h"))
    assert len(rows) == len({name for name, _ in rows})
    assert logged == set(rows), "gateway/log_events.h"


def headings(name):
    return re.findall(r"^#+ (.*)", source(name), re.M)


def test_troubleshooting_has_a_heading_for_every_503_and_every_alert():
    coded = {name for name, status in re.findall(r"\bX\((\w+),\s*(\d{3}),", source("gateway/answers/verdict.h")) if status == "503"}
    assert coded <= set(headings("docs/troubleshooting.md"))
    assert {heading for heading in headings("docs/troubleshooting.md") if heading.startswith("Penstock")} == set(alerts())


def alerts():
    document = yaml.safe_load(source("deploy/prometheus/penstock.rules.yml"))
    return {rule["alert"]: rule["expr"] for group in document["groups"] for rule in group["rules"]}


def test_alerts_ask_for_metrics_and_labels_that_exist():
    text = source("gateway/metrics.c") + source("queue/settle/report.c")
    verdicts = re.findall(r"\bX\((\w+),\s*\d{3},", source("gateway/answers/verdict.h"))
    known = set(re.findall(r'"((?:penstock|process)_\w+)"', text))
    for name, expression in alerts().items():
        assert set(re.findall(r"\b(?:penstock|process)_\w+", expression)) <= known, name
        assert set(re.findall(r'verdict="(\w+)"', expression)) <= set(verdicts), name


def test_the_row_of_a_verdict_says_who_says_it():
    """The metrics leave out the series of verdicts that nobody can say: so what the row claims is what the sources do."""
    def said(*places):
        files = [path for place in places for path in ([ROOT / place] if place.endswith(".c") else sorted((ROOT / place).rglob("*.[ch]")))]
        return {name for path in files for name in re.findall(r"\bANS_V_(\w+)", path.read_text(encoding="utf-8"))}
    rows = re.findall(r"\bX\((\w+), \d{3}, \w+, \"[^\"]*\", ANS_TO_(\w+), ANS_BY_(\w+),", source("gateway/answers/verdict.h"))
    assert len(rows) == len(re.findall(r"^    X\(", source("gateway/answers/verdict.h"), re.M))
    public = said("gateway/public", "gateway/pages", "gateway/orders", "gateway/admission", "gateway/answers/readiness.c")
    admin = said("gateway/admin", "gateway/control.c", "gateway/config", "gateway/answers/readiness.c")
    assert {name for name, to, by in rows if by != "LISTENER" and to != "OPERATORS"} == public
    assert {name for name, to, by in rows if by != "LISTENER" and to != "BUYERS"} <= admin
    assert {name for name, _, by in rows if by != "ROUTE"} == said("gateway/server")


def test_the_man_page_has_every_file_of_the_state_directory_and_every_kind_of_store_and_log():
    text = MAN.read_text(encoding="utf-8")
    listed = set(re.findall(r"^\.It Pa (\S+)$", text, re.M))
    documented = {name for row in tables(source("docs/operations.md"), "| file in `state_dir` | what |") for name in re.findall(r"`([\w.]+)`", row[0])}
    assert documented and documented <= listed
    description = text[text.index(".Sh DESCRIPTION"):text.index("The options are:")]
    words = lists(source("gateway/settings.c"))
    assert all(word in description.lower() for word in words["store_kinds"] + words["log_kinds"])


def test_the_man_page_of_the_rehearsal_has_every_option():
    coded = set(re.findall(r'^    \{"(--[\w-]+)",', source("loadtest/options.c"), re.M))
    page = source("loadtest/penstock-rehearse.1")
    tags = re.findall(r"^\.TP\n(.*)", page[page.index(".SH OPTIONS"):page.index(".SH SIGNALS")], re.M)
    assert coded and coded == set(re.findall(r"--[\w-]+", "\n".join(tags)))


def test_the_service_is_started_again_however_often_it_fails():
    """A gateway on a full disk fails to start each second; systemd must not have given up when there is room again."""
    for name in ("penstock", "penstock-settle"):
        unit = dict(re.findall(r"^(\w+)=(.*)$", source(f"deploy/systemd/{name}.service"), re.M))
        gives_up = unit.get("StartLimitIntervalSec") != "0" and 5 * int(unit["RestartSec"]) < 10
        assert unit["Restart"] == "on-failure" and not gives_up, name


def test_the_gateway_leaves_memory_for_whoever_repairs_the_machine():
    unit = dict(re.findall(r"^(\w+)=(.*)$", source("deploy/systemd/penstock.service"), re.M))
    assert 50 <= int(unit["MemoryMax"].removesuffix("%")) <= 90 and unit["MemorySwapMax"] == "0", unit


def test_the_man_page_of_penstockctl_is_what_it_prints():
    printed = subprocess.run([ROOT / "build/dev/gateway/ctl/penstockctl", "man"], capture_output=True, text=True, check=True)
    assert printed.stdout == source("deploy/man/penstockctl.1"), "print it again: penstockctl man > deploy/man/penstockctl.1"


def test_man_pages_are_clean():
    for page in [MAN, MAN.with_name("penstockctl.1"), *ROOT.glob("docs/reference/*.5"), ROOT / "loadtest/penstock-rehearse.1"]:
        assert_clean(page)


def texts():
    """Everything that is kept, as text."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in sorted(filter(None, listed.stdout.decode().split("\0"))):
        path = ROOT / name
        if path.is_file():
            yield name, path.read_text(encoding="utf-8", errors="replace")


def test_every_relative_link_leads_somewhere():
    broken = []
    for name, text in texts():
        if not name.endswith(".md"):
            continue
        text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            path = ((ROOT / name).parent / file) if file else ROOT / name
            if not path.exists():
                broken.append(f"{name}: {target}")
            elif anchor:
                heads = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.M)
                anchors = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
                if anchor not in anchors:
                    broken.append(f"{name}: {target}")
    assert not broken, broken


def documents():
    return [(name, text) for name, text in texts() if name.endswith(".md")]


def test_the_readme_is_read_in_five_minutes():
    assert len(source("README.md").encode()) <= 9216


def test_documents_fit_a_terminal():
    long = [f"{name}:{number}" for name, text in documents()
            for number, line in enumerate(text.splitlines(), 1) if len(line) >= 120]
    assert not long, long


def test_a_block_says_whether_it_can_be_pasted():
    """sh: beside a quickstart, and a system test pastes it; console: elsewhere; yaml: values, which test_chart renders."""
    marks = {(name, mark) for name, text in documents() for mark in re.findall(r"^ *```(\w*)\n.*?^ *```$", text, re.M | re.S)
             if name.startswith(("README", "docs/"))}
    assert {mark for _, mark in marks} <= {"sh", "console", "text", "json", "yaml"}, marks


def test_no_document_puts_a_token_on_a_command_line():
    found = [name for name, text in texts() if re.search(r"Authorization: Bearer \\?\$\(", text) and not name.startswith("tests/")]
    assert not found, found


def test_documents_name_settings_and_metrics_that_exist():
    """A name in code marks that begins like one of them is one of them, a table of the shop's database, a header of a dead letter, a field of ECS, an
    attribute of a span, or a log format of nginx."""
    known = {name for page in ("settings", "metrics", "settle") for name in re.findall(r"^- \*\*`([\w.]+)`", source(f"docs/reference/{page}.md"), re.M)}
    known |= set(re.findall(r"CREATE TABLE (\w+)", source("queue/settle/sink_sqlite.c"))) | {f"penstock_{word}" for word in ("reason", "topic", "place")}
    groups = "|".join(sorted({name.split(".")[0] for name in known if "." in name}))
    known |= set(re.findall(r'"([a-z_]+\.[a-z_.]+)"', source("gateway/public/tracing.c")))  # names of OpenTelemetry
    known |= set(re.findall(r"^([\w.]+) ", source("tests/system/ecs_fields.txt"), re.M)) | set(re.findall(r"^log_format (\w+)", source("deploy/nginx/penstock.conf"), re.M))
    files = re.compile(r"\w+\.(c|h|js|db|id|md|json|token|header|cfg|html|txt)")
    wrong = {f"{name}: {word}" for name, text in documents() if not name.startswith(("CHANGELOG", "docs/reference/"))
             for word in re.findall(rf"`((?:penstock_|(?:{groups})\.)[\w.]+)`", text) if word not in known and not files.fullmatch(word)}
    assert not wrong, sorted(wrong)


def test_documents_name_programs_that_are_built():
    """build/release/… has the same programs as build/dev/…, but for the tests' tools."""
    named = {(name, path) for name, text in documents() if name.startswith(("README", "docs/")) for path in re.findall(r"\bbuild/(?:release|dev)/([\w/-]+[\w])(?![\w/*.-])", text)}
    assert {"gateway/penstock", "loadtest/penstock-rehearse", "queue/settle/penstock-settle"} <= {path for _, path in named}
    missing = sorted(f"{name}: {path}" for name, path in named if not (ROOT / "build/dev" / path).is_file())
    assert not missing, missing


def test_nobody_speaks_of_places_that_are_not_the_project():
    # Written apart, so that this file does not find itself.
    words = ["/wo" + "rk/", "shared" + "/design", "py" + "pi.org", "registry.npm" + "js", "crates" + ".io", "repo.mav" + "en",
             "deb.deb" + "ian.org", "proxy.gol" + "ang"]
    found = [f"{name}: {word}" for name, text in texts() for word in words if word in text.lower()]
    assert not found, found


def test_every_folder_beside_the_product_has_a_readme():
    # Those of the product's rooms are found by themselves: test_layers.py.
    missing = [folder for folder in ["deploy", "tests"] if not (ROOT / folder / "README.md").is_file()]
    assert not missing, missing
