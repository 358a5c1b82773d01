"""The documents say what the code does: README's tables and the man page against the tables in the code, log events against the sources,
every relative link against the tree. And the project speaks of itself only."""
import pathlib
import re
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAN = ROOT / "deploy/man/penstock.8"
STRING = r'"((?:[^"\\]|\\.)*)"'


def source(name):
    return (ROOT / name).read_text(encoding="utf-8")


def unquoted(text):
    return text.replace('\\"', '"').replace("\\\\", "\\")


def lists(text):
    """const char *const NAME[] = {"a", "b", NULL};"""
    return {name: re.findall(r'"([^"]*)"', body) for name, body in re.findall(r"\bconst char \*const (\w+)\[\] = \{([^}]*)\}", text)}


def tables(text, header):
    """Rows (without head and rule) of the one table that begins with this head."""
    found = re.findall(re.escape(header) + r"\n\|[-|]+\|\n((?:\|.*\n)+)", text)
    assert len(found) == 1, header
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found[0].splitlines()]


def test_the_readme_has_every_verdict_with_its_status_and_retry_rule():
    rows = re.findall(r"\bX\((\w+),\s*(\d{3}),\s*\w+,\s*ANS_RETRY_(\w+),", source("gateway/answers/verdict.h"))
    words = {"NONE": "–", "LIMIT": "limit", "SOON": "soon", "OPENING": "opening"}
    assert rows
    documented = [(row[0].strip("`"), row[1], row[3]) for row in tables(README, "| code | status | when | Retry-After |")]
    assert documented == [(name, status, words[retry]) for name, status, retry in rows]


def test_the_readme_says_what_to_do_about_every_503():
    coded = {name for name, status in re.findall(r"\bX\((\w+),\s*(\d{3}),", source("gateway/answers/verdict.h")) if status == "503"}
    assert {row[0].strip("`") for row in tables(README, "| code | what it means | what to do |")} == coded


def metrics():
    text = source("gateway/metrics.c")
    kinds = {"COUNTER": "counter", "GAUGE": "gauge", "GAUGE_SECONDS": "gauge", "HISTOGRAM_SECONDS": "histogram"}
    known = lists(text + source("gateway/config/limit_rule.c"))
    rows = re.findall(r"\[GW_M_\w+\]\s*=\s*\{" + STRING + r",\s*" + STRING + r",\s*PS_(\w+),\s*(NULL|\"[^\"]*\"),\s*(\w+)\}", text)
    assert len(rows) == text.count('"penstock_')
    for name, text_of, kind, label, values in rows:
        label = label.strip('"')
        shown = "" if label == "NULL" else f"`{label}`: " + (", ".join(known.get(values, [])) or
                                                            ("version" if values == "versions" else "the codes above"))
        yield [f"`{name}`", kinds[kind], shown, unquoted(text_of)]


def test_the_readme_has_every_metric_as_the_code_describes_it():
    assert tables(README, "| metric | type | label | meaning |") == list(metrics())


def alerts():
    document = yaml.safe_load(source("deploy/prometheus/penstock.rules.yml"))
    return {rule["alert"]: rule["expr"] for group in document["groups"] for rule in group["rules"]}


def test_alerts_ask_for_metrics_and_labels_that_exist():
    text = source("gateway/metrics.c") + source("queue/settle/report.c")
    verdicts = re.findall(r"\bX\((\w+),\s*\d{3},", source("gateway/answers/verdict.h"))
    known = set(re.findall(r'"(penstock_\w+)"', text))
    for name, expression in alerts().items():
        assert set(re.findall(r"\bpenstock_\w+", expression)) <= known, name
        assert set(re.findall(r'verdict="(\w+)"', expression)) <= set(verdicts), name


@pytest.mark.parametrize("gateways, members, fires", [(1, 0, set()), (3, 3, set()), (3, 2, {"PenstockMembersApart"})],
                         ids=["one alone", "three", "three, of which one is not heard"])
def test_alerts_are_silent_where_all_is_well(gateways, members, fires):
    """Their expressions as Python reads them; every gateway shows the same numbers, none of which grows."""
    values = {"up": 1, "penstock_log_available": 1, "penstock_cluster_members": members}
    words = {"max": lambda value: value, "min": lambda value: value, "count": lambda value: gateways}
    fired = set()
    for name, expression in alerts().items():
        expression = re.sub(r"\b(increase|changes|sum by \(instance\) \(rate)\([^\[]*\[\w+\]\)+", "0", expression)
        expression = re.sub(r"\b(up|penstock_\w+)(\{[^}]*\})?", lambda match: str(values.get(match[1], 0)), expression)
        if eval(expression, {"__builtins__": {}}, words):
            fired.add(name)
    assert fired == fires


def options():
    text = source("gateway/settings.c")
    table = text[text.index("gw_options[] = {"):text.index("gw_option_count")]
    known = lists(text)
    rows = re.findall(r"\{" + STRING + r",\s*PS_OPT_(\w+),\s*AT\([\w.]+\),\s*(.+?),\s*" + STRING + r",\s*" + STRING +
                      r",\s*(\w+),\s*(true|false),\s*" + STRING + r"\}", table)
    assert len(rows) == table.count("PS_OPT_")
    for path, kind, bounds, fallback, unit, words, live, text_of in rows:
        fallback = unquoted(fallback)
        value = {"INT": " to ".join(re.findall(r"\d+", bounds)) + (f" {unit}" if unit else ""),
                 "BOOL": "true, false",
                 "ENUM": ", ".join(known.get(words, [])),
                 "STRING": "string",
                 "STRINGS": "array of strings",
                 "JSON": "array" if fallback == "[]" else "object"}[kind]
        yield path, fallback, value, unquoted(text_of) + (" (live)" if live == "true" else "")


def test_the_readme_has_every_setting_as_the_code_describes_it():
    documented = tables(README, "| setting | default | value | meaning |")
    assert documented == [[f"`{path}`", f"`{fallback}`", value, text] for path, fallback, value, text in options()]


def test_the_man_page_has_every_setting_as_the_code_describes_it():
    text = MAN.read_text(encoding="utf-8").replace("\\(dq", '"')
    items = re.findall(r"^\.It Cm (\S+) Pq (.+) ; default Li (.*)\n((?:[^.].*\n)+)", text, re.M)
    documented = [(path, fallback, value, " ".join(body.split())) for path, value, fallback, body in items]
    assert documented == [(path, fallback, value, help_text + ".") for path, fallback, value, help_text in options()]


def test_the_man_page_has_every_file_of_the_state_directory_and_every_kind_of_store_and_log():
    text = MAN.read_text(encoding="utf-8")
    listed = set(re.findall(r"^\.It Pa (\S+)$", text, re.M))
    documented = {name for row in tables(README, "| file in `state_dir` | what |") for name in re.findall(r"`([\w.]+)`", row[0])}
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


def test_man_pages_are_clean():
    pages = [MAN, ROOT / "loadtest/penstock-rehearse.1"]
    for page in pages:
        done = subprocess.run(["groff", "-mandoc", "-ww", "-z", "-Tutf8", str(page)], capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == "", done.stderr


def test_log_events_in_the_readme_exist_at_their_level():
    coded = {}
    for path in (ROOT / "gateway").rglob("*.c"):
        for levels, events in re.findall(r"ps_log\(([^\"]*?),\s*((?:[^\"(]*?\?\s*)?\"\w+\"(?:\s*:\s*\"\w+\")?)", path.read_text(encoding="utf-8")):
            for event, level in zip(re.findall(r'"(\w+)"', events), re.findall(r"PS_LOG_(\w+)", levels)):
                coded[event] = level.lower()
    for events, levels, _ in tables(README, "| event | level | what it means, what to do |"):
        names, levels = re.findall(r"`(\w+)`", events), levels.split(", ")
        levels = levels * len(names) if len(levels) == 1 else levels
        assert [coded.get(name) for name in names] == levels, events


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


def test_nobody_speaks_of_places_that_are_not_the_project():
    # Written apart, so that this file does not find itself.
    words = ["/wo" + "rk/", "shared" + "/design", "py" + "pi.org", "registry.npm" + "js", "crates" + ".io", "repo.mav" + "en",
             "deb.deb" + "ian.org", "proxy.gol" + "ang"]
    found = [f"{name}: {word}" for name, text in texts() for word in words if word in text.lower()]
    assert not found, found


def test_every_folder_has_a_readme():
    folders = ["common", "inventory", "queue", "gateway", "gateway/server", "loadtest", "deploy", "tests"]
    missing = [folder for folder in folders if not (ROOT / folder / "README.md").is_file()]
    assert not missing, missing
