"""The layers and the library fences, read from the #include lines: gateway -> {inventory, queue} -> common; loadtest -> {queue's codec,
fold and audit, common}; tests may use all. A library is known only where it is wrapped."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ["common", "inventory", "queue", "gateway", "loadtest"]

ALLOWED = {
    "common": {"common"},
    "inventory": {"inventory", "common"},
    "queue": {"queue", "common"},
    "gateway": {"gateway", "inventory", "queue", "common"},
    "loadtest": {"loadtest", "queue", "common"},
}
LOADTEST_QUEUE = {"queue/event.h", "queue/fold.h", "queue/audit.h"}

# Where counter and log are joined; core.h only names both, the others hand them over.
JOINS = re.compile(r"gateway/(admission/admit|orders/|sales/|cluster/|config/|admin/|control|core|worker|gateway|backends|public/(probes|status_page|routes))")

FENCES = {
    "microhttpd.h": r"gateway/server/(http|connections|http_head|http_answer|http_private)",
    "sqlite3.h": r"common/db|gateway/config/db",
    "http_parser.h": r"loadtest/",
    "systemd/": r"gateway/gateway\.c",
    "hiredis": r"common/redis_wire",
    "libpq-fe.h": r"queue/settle/",
    "curl/": r"queue/settle/|loadtest/admin",
    "rdkafka": r"queue/(log_kafka|kafka_|settle/)",
}


def sources():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.[ch]")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def includes(text):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.M)


def test_no_folder_includes_a_layer_above_it():
    wrong = []
    for name, text in sources():
        folder = name.split("/")[0]
        for target in includes(text):
            other = target.split("/")[0]
            if other in FOLDERS and other not in ALLOWED[folder]:
                wrong.append(f"{name} includes {target}")
    assert not wrong, wrong


def test_the_load_tool_knows_only_codec_fold_and_audit_of_the_queue():
    wrong = [f"{name} includes {target}" for name, text in sources() if name.startswith("loadtest/")
             for target in includes(text) if target.startswith("queue/") and target not in LOADTEST_QUEUE]
    assert not wrong, wrong


def test_counter_and_log_are_joined_only_where_orders_live():
    wrong = []
    for name, text in sources():
        joined = {target.split("/")[0] for target in includes(text)} & {"inventory", "queue"}
        if name.startswith("gateway/") and len(joined) == 2 and not JOINS.match(name):
            wrong.append(name)
    assert not wrong, wrong


def test_each_library_stays_behind_its_fence():
    wrong = []
    for name, text in sources():
        for target in includes(text):
            for library, place in FENCES.items():
                if library in target and not re.match(place, name):
                    wrong.append(f"{name} includes {target}")
    assert not wrong, wrong


def test_every_source_opens_with_its_purpose():
    wrong = [name for name, text in sources() if not text.startswith("/*")]
    assert not wrong, wrong


def test_no_file_is_too_long_to_read_at_once():
    wrong = [f"{name}: {text.count(chr(10))} lines" for name, text in sources() if text.count("\n") > 650]
    assert not wrong, wrong
