"""The rooms and their arrows, read from the #include lines: a room includes what stands below it and nothing else, no file is in a
circle with another, a public symbol begins with its room's prefix, and a library is known only where it is wrapped."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ["common", "inventory", "queue", "gateway", "loadtest"]

# What stands directly below each room; what is below that may be included as well.
ARROWS = {
    "common": set(),
    "inventory": {"common"},
    "queue": {"common"},
    "loadtest": {"queue", "common"},
    "gateway/answers": {"common"},
    "gateway/metrics": {"gateway/answers", "gateway/config"},  # the table alone
    "gateway/config": {"common"},
    "gateway/server": {"gateway/answers"},
    "gateway/cluster": {"gateway/config", "gateway/answers", "gateway/metrics", "inventory", "queue"},
    "gateway/admission/limits": {"gateway/config", "gateway/answers", "gateway/metrics"},  # its tables
    "gateway/snapshot": {"gateway/admission/limits", "gateway/upstream", "gateway/config", "inventory", "queue"},
    "gateway/admission": {"gateway/admission/limits", "gateway/snapshot", "gateway/config", "gateway/answers", "gateway/metrics",
                          "inventory", "queue"},
    "gateway/cache": {"gateway/config"},
    "gateway/upstream": {"gateway/cache", "gateway/answers", "gateway/metrics"},
    "gateway/sales": {"gateway/cluster", "gateway/config", "gateway/metrics", "inventory", "queue"},
    "gateway/orders": {"gateway/admission", "gateway/sales", "gateway/answers"},
    "gateway/pages": {"gateway/admission", "gateway/upstream", "gateway/cache", "gateway/server"},
    "gateway/public": {"gateway/orders", "gateway/pages", "gateway/server", "gateway/config", "gateway/answers"},
    "gateway/admin": {"gateway/config", "gateway/sales", "gateway/orders", "gateway/admission", "gateway/upstream", "gateway/answers",
                      "gateway/server"},
    "gateway/ctl": {"common"},  # a program of its own
    "gateway": {"gateway/admin", "gateway/public"},  # composition: main, gateway, settings, workers, control
}
LOADTEST_QUEUE = {"queue/event.h", "queue/fold.h", "queue/audit.h"}

PREFIXES = {
    "common": "ps_", "inventory": "inv_", "queue": "oq_", "queue/settle": "st_", "queue/standby": "sb_", "loadtest": "lt_", "gateway": "gw_",
    "gateway/metrics": "gw_", "gateway/server": "srv_", "gateway/answers": "ans_", "gateway/public": "pub_", "gateway/pages": "page_",
    "gateway/admission": "adm_", "gateway/orders": "ord_", "gateway/sales": "sale_", "gateway/cluster": "clu_", "gateway/config": "cfg_",
    "gateway/admission/limits": "adm_", "gateway/snapshot": "snap",  # `struct snapshot` itself has no underscore
    "gateway/ctl": "ctl", "gateway/admin": "op_", "gateway/upstream": "up_", "gateway/cache": "cache",  # `struct cache` and `struct ctl` themselves have none
}

# Library: the files that may include it.
FENCES = {
    "ares": ["gateway/upstream/discovery_dns.c"],
    "sqlite3.h": ["common/db/db_internal.h"],
    "systemd/": ["gateway/gateway.c"],
    "hiredis": ["common/redis/redis_wire.h"],
    "libpq-fe.h": ["queue/settle/postgres.h"],
    "zstd.h": ["queue/archive_internal.h"],
    "curl/": ["queue/settle/caller.c", "queue/settle/main.c", "queue/standby/caller.c", "queue/standby/main.c",
             "loadtest/admin.c", "gateway/ctl/call.c", "gateway/ctl/main.c"],
    "yaml.h": ["gateway/ctl/yaml.c"],
    "rdkafka": ["queue/kafka_conf.h", "queue/kafka_check.h", "queue/kafka_record.h", "queue/settle/source_kafka.c"],
    "jansson.h": ["common/text/json.h", "queue/audit.h", "queue/counts.h", "loadtest/template.h"],
}


def sources():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.[ch]")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def includes(text):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.M)


def module(name):
    """A header and its source are one."""
    return re.sub(r"\.[ch]$", "", name)


def room(name):
    """The deepest room that has the file; gateway/metrics is a file."""
    parts = module(name).split("/")
    return next("/".join(parts[:n]) for n in range(len(parts), 0, -1) if "/".join(parts[:n]) in ARROWS)


def below(of):
    found, todo = set(), [of]
    while todo:
        for other in ARROWS[todo.pop()] - found:
            found.add(other)
            todo.append(other)
    return found


def edges():
    """(file, included file) of ours."""
    for name, text in sources():
        for target in includes(text):
            if target.split("/")[0] in FOLDERS:
                yield name, target


def circles(node_of):
    """Sets of nodes that include each other (Tarjan's strongly connected components of more than one)."""
    graph = {}
    for name, target in edges():
        graph.setdefault(node_of(name), set()).add(node_of(target))
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            circle = set()
            while node not in circle:
                circle.add(stack.pop())
            if len(circle) > 1:
                found.append(circle)

    for node in list(graph):
        if node not in index:
            visit(node)
    return found


def public_symbols(text):
    """What a header defines and declares: tags, functions, data, macros."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    macros = re.findall(r"^\s*#\s*define\s+(\w+)", text, re.M)
    text = re.sub(r"^\s*#.*(?:\\\n.*)*", "", text, flags=re.M)
    tags = re.findall(r"\b(?:struct|enum|union)\s+(\w+)\s*\{", text)
    while re.search(r"\{[^{}]*\}", text):  # bodies and members
        text = re.sub(r"\{[^{}]*\}", "", text)
    functions = re.findall(r"^(?!typedef)[A-Za-z][\w\s\*]*?\b(\w+)\s*\(", text, re.M)
    types = re.findall(r"^typedef\b[^;]*?\b(\w+)\s*\([^;]*;", text, re.M)
    data = re.findall(r"^extern\b[^;(]*?\b(\w+)\s*(?:\[[^;]*)?;", text, re.M)
    return set(macros + tags + functions + types + data)


def test_every_room_is_known():
    wrong = sorted({room(name) for name, _ in sources()} - set(ARROWS))
    assert not wrong, wrong


def test_rooms_include_only_what_stands_below_them():
    wrong = [f"{name} includes {target}" for name, target in edges()
             if room(target) not in below(room(name)) | {room(name)}]
    assert not wrong, "\n".join(wrong)


def test_no_modules_of_different_rooms_are_in_a_circle():
    wrong = [sorted(circle) for circle in circles(module) if len({room(name) for name in circle}) > 1]
    assert not wrong, wrong


def test_no_headers_are_in_a_circle():
    wrong = [sorted(circle) for circle in circles(lambda name: name)]
    assert not wrong, wrong


def test_the_load_tool_knows_only_codec_fold_and_audit_of_the_queue():
    wrong = [f"{name} includes {target}" for name, target in edges()
             if name.startswith("loadtest/") and target.startswith("queue/") and target not in LOADTEST_QUEUE]
    assert not wrong, wrong


def test_public_symbols_begin_with_the_prefix_of_their_room():
    wrong = []
    for name, text in sources():
        if not name.endswith(".h"):
            continue
        prefix = PREFIXES.get("/".join(name.split("/")[:2]) if name.startswith("queue/") else None) or PREFIXES[room(name)]
        wrong += [f"{name}: {symbol}" for symbol in sorted(public_symbols(text)) if not symbol.lower().startswith(prefix)]
    assert not wrong, "\n".join(wrong)


def test_each_library_stays_behind_its_fence():
    wrong = [f"{name} includes {target}" for name, text in sources() for target in includes(text)
             for library, files in FENCES.items() if library in target and target.split("/")[0] not in FOLDERS and name not in files]
    assert not wrong, wrong


def test_every_source_opens_with_its_purpose():
    wrong = [name for name, text in sources() if not text.startswith("/*")]
    assert not wrong, wrong


def test_no_file_is_too_long_to_read_at_once():
    wrong = [f"{name}: {text.count(chr(10))} lines" for name, text in sources() if text.count("\n") > 650]
    assert not wrong, wrong
