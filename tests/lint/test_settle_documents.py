"""The documents of settlement say what its code does."""
import re

from test_documents import ROOT, assert_clean, assert_printed, source

GUIDE = source("queue/settle/README.md")


def test_the_reference_pages_are_what_the_program_prints(tmp_path):
    assert_printed("queue/settle/penstock-settle", tmp_path)


def test_the_man_page_is_clean():
    assert_clean(ROOT / "queue/settle/penstock-settle.8")


def test_the_table_of_log_events_has_each_event_of_the_worker_at_its_level():
    coded = {}
    text = source("queue/settle/worker.c") + source("common/otlp/log_state.c")
    for level, event in re.findall(r'ps_log\(\s*PS_LOG_(\w+),\s*"(\w+)"', text):
        coded[event] = level.lower()
    coded |= {event: "error" for event in re.findall(r'give_up\("(\w+)"', text)}
    for away, back in re.findall(r'\.away = "(\w+)", \.back = "(\w+)"', text):
        coded |= {away: "warn", back: "info"}
    coded |= {event: "info" for event in re.findall(r'say_progress\(worker, (?:[^")]*\? )?"(\w+)"', text)} | {"stopped": "info"}
    rows = re.findall(r"\bX\((\w+), (ERROR|WARN|INFO|DEBUG),", source("queue/settle/log_events.h"))
    assert len(rows) == len(coded) and {name: level.lower() for name, level in rows} == coded


def test_the_guide_has_every_table_that_init_makes():
    made = [re.findall(r"CREATE TABLE (\w+)", source(f"queue/settle/{file}.c")) for file in ("sink_postgres", "sink_sqlite")]
    assert made[0] == made[1]
    section = GUIDE[GUIDE.index("## Tables"):GUIDE.index("**Ship goods")]
    named = [name for line in re.findall(r"^- (`.*?):", section, re.M) for name in re.findall(r"`(\w+)`", line)]
    assert sorted(named) == sorted(made[0])
