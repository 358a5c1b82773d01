"""The documents of settlement say what its code does: settings, metrics and log events in its README and man page."""
import re
import subprocess

from test_documents import ROOT, STRING, lists, source, tables, unquoted

GUIDE = source("queue/settle/README.md")
MAN = ROOT / "queue/settle/penstock-settle.8"


def options():
    text = source("queue/settle/settings.c")
    table = text[text.index("st_options[] = {"):text.index("st_option_count")]
    rows = re.findall(r"\{" + STRING + r",\s*PS_OPT_(\w+),\s*AT\([\w.]+\),\s*(.+?),\s*" + STRING + r",\s*" + STRING +
                      r",\s*(\w+),\s*(?:true|false),\s*" + STRING + r"\}", table)
    assert len(rows) == table.count("PS_OPT_")
    for path, kind, bounds, fallback, unit, words, help_text in rows:
        value = {"INT": " to ".join(re.findall(r"\d+", bounds)) + (f" {unit}" if unit else ""), "BOOL": "true, false", "STRING": "string",
                 "ENUM": ", ".join(lists(text).get(words, [])), "STRINGS": "array of strings", "JSON": "object"}[kind]
        yield path, unquoted(fallback), value, unquoted(help_text)


def metrics():
    text = source("queue/settle/report.c")
    known = lists(text)
    words = dict(re.findall(r'#define (ST_RESULT_\w+)\s+"(\w+)"', source("queue/settle/caller.h")))
    results = re.search(r"results\[\] = \{([^}]*)\}", text).group(1)
    known["results"] = [words.get(word, word.strip('"')) for word in re.findall(r'ST_RESULT_\w+|"\w+"', results)]
    kinds = {"COUNTER": "counter", "GAUGE": "gauge", "HISTOGRAM_SECONDS": "histogram"}
    rows = re.findall(r"\[ST_M_\w+\]\s*=\s*\{" + STRING + r",\s*" + STRING + r",\s*PS_(\w+),\s*(NULL|\"[^\"]*\"),\s*(\w+)\}", text)
    assert len(rows) == text.count('"penstock_')
    for name, text_of, kind, label, values in rows:
        shown = "" if label == "NULL" else f"`{label.strip(chr(34))}`: " + ", ".join(known[values])
        yield [f"`{name}`", kinds[kind], shown, unquoted(text_of)]


def test_the_guide_has_every_setting_as_the_code_describes_it():
    documented = tables(GUIDE, "| setting | default | value | meaning |")
    assert documented == [[f"`{path}`", f"`{fallback}`", value, text] for path, fallback, value, text in options()]


def test_the_man_page_has_every_setting_and_is_clean():
    text = MAN.read_text(encoding="utf-8").replace("\\(dq", '"')
    items = re.findall(r"^\.It Cm (\S+) Pq (.+) ; default Li (.*)\n((?:[^.].*\n)+)", text, re.M)
    documented = [(path, fallback, value, " ".join(body.split())) for path, value, fallback, body in items]
    assert documented == [(path, fallback, value, help_text + ".") for path, fallback, value, help_text in options()]
    done = subprocess.run(["groff", "-mandoc", "-ww", "-z", "-Tutf8", str(MAN)], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_the_guide_has_every_metric():
    assert tables(GUIDE, "| metric | type | label | meaning |") == list(metrics())


def test_the_guide_has_every_log_event_at_its_level():
    coded = {}
    text = source("queue/settle/worker.c")
    for level, event in re.findall(r'ps_log\(\s*PS_LOG_(\w+),\s*"(\w+)"', text):
        coded[event] = level.lower()
    coded |= {event: "error" for event in re.findall(r'give_up\("(\w+)"', text)}
    for away, back in re.findall(r'\.away = "(\w+)", \.back = "(\w+)"', text):
        coded |= {away: "warn", back: "info"}
    coded |= {event: "info" for event in re.findall(r'say_progress\(worker, (?:[^")]*\? )?"(\w+)"', text)} | {"stopped": "info"}
    documented = {}
    for events, levels, _ in tables(GUIDE, "| event | level | what it means, what to do |"):
        names, levels = re.findall(r"`(\w+)`", events), levels.split(", ")
        documented |= dict(zip(names, levels * len(names) if len(levels) == 1 else levels))
    assert documented == coded


def test_the_guide_has_every_table_that_init_makes():
    made = [re.findall(r"CREATE TABLE (\w+)", source(f"queue/settle/{file}.c")) for file in ("sink_postgres", "sink_sqlite")]
    assert made[0] == made[1]
    named = [name for row in tables(GUIDE, "| table | what |") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(made[0])
