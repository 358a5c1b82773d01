"""The rooms and their arrows. A room is a static library; what its penstock_library() links is what it may use, by #include, by a name
of a struct, by a call. There is no closure: whoever needs what is below another room links it. The linker holds the same arrows
(CMakeLists.txt); here they hold for headers and for sub-rooms, and no more than three files are in a circle."""
import functools
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ["common", "inventory", "queue", "gateway", "loadtest"]

# Rooms within a library, and programs of their own: what they may use.
INNER = {
    "gateway/config/store": {"common"},
    "gateway/config/kinds": {"gateway/config/store", "common"},
    "gateway/config": {"gateway/config/store", "gateway/config/kinds", "common"},
    "queue/standby": {"queue", "common/call", "common"},
}
# Libraries whose files are not those of the folder of their name.
PLACES = {"call": "common/call", "otlp": "common/otlp", "limits": "gateway/admission/limits", "metrics": "gateway/metrics", "settle": "queue/settle"}
LOADTEST_QUEUE = {"queue/event.h", "queue/fold.h", "queue/audit.h"}

PREFIXES = {
    "common": "ps_", "common/call": "ps_", "common/otlp": "ps_", "inventory": "inv_", "queue": "oq_", "queue/settle": "st_", "queue/standby": "sb_", "loadtest": "lt_", "gateway": "gw_",
    "gateway/metrics": "gw_", "gateway/server": "srv_", "gateway/answers": "ans_", "gateway/public": "pub_", "gateway/pages": "page_",
    "gateway/admission": "adm_", "gateway/orders": "ord_", "gateway/sales": "sale_", "gateway/cluster": "clu_", "gateway/config": "cfg_",
    "gateway/config/store": "cfg_", "gateway/config/kinds": "cfg_", "gateway/admission/limits": "adm_", "gateway/ctl": "ctl",
    "gateway/plans": "plan",
    "gateway/snapshot": "snap",  # `struct snapshot` itself has no underscore
    "gateway/admin": "op_", "gateway/explain": "exp_", "gateway/upstream": "up_", "gateway/cache": "cache",  # `struct cache` itself has no underscore
}

# Library: the files that may include it.
FENCES = {
    "ares": ["gateway/upstream/discovery_dns.c"],
    "sqlite3.h": ["common/db/db_internal.h"],
    "systemd/": ["gateway/gateway.c", "gateway/handover.c", "gateway/notify.c"],
    "hiredis": ["common/redis/redis_wire.h"],
    "libpq-fe.h": ["queue/settle/postgres.h"],
    "zstd.h": ["queue/archive_internal.h"],
    "curl/": ["common/call/call.c"],
    "yaml.h": ["gateway/ctl/yaml.c"],
    "rdkafka": ["queue/kafka_conf.h", "queue/kafka_check.h", "queue/kafka_record.h", "queue/settle/source_kafka.c"],
    "jansson.h": ["common/text/json.h", "queue/audit.h", "queue/counts.h", "loadtest/template.h"],
    "microhttpd": [],
}
# What may call a library: by the beginnings of its functions those of files.
CALLS = {
    r"ares_\w+": ["gateway/upstream/discovery_dns.c"],
    r"sqlite3_\w+": ["common/db/"],
    r"sd_(?:notify|watchdog|listen)\w*": ["gateway/gateway.c", "gateway/handover.c", "gateway/notify.c"],
    r"redis[A-Z]\w+": ["common/redis/"],
    r"PQ[a-z]\w+": ["queue/settle/postgres.c", "queue/settle/sink_postgres.c"],
    r"ZSTD_\w+": ["queue/archive_"],
    r"curl_\w+": ["common/call/call.c"],
    r"yaml_\w+_\w+": ["gateway/ctl/yaml.c"],
    r"rd_kafka_\w+": ["queue/kafka_", "queue/log_kafka.c", "queue/settle/source_kafka.c"],
    r"MHD_\w+": [],
    r"json_(?:object|array|string|integer|real|boolean|null|pack|unpack|loads|loadb|dumps|decref|incref|deep_copy|equal)\w*":
        ["common/otlp/answer.c", "common/text/", "common/program/", "common/table/", "queue/", "gateway/admin/", "gateway/config/", "gateway/explain/", "gateway/plans/", "gateway/snapshot/sale.c",
         "gateway/admission/", "gateway/upstream/", "gateway/settings.c", "gateway/ctl/", "loadtest/"],
    r"uv_\w+": ["common/redis/", "common/program/", "inventory/", "gateway/", "loadtest/"],
}


@functools.cache
def all_sources():
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
            for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.[ch]"))}


def sources():
    return all_sources().items()


@functools.cache
def code(name):
    """Without comments and strings."""
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', re.sub(r"/\*.*?\*/", "", all_sources()[name], flags=re.S))


@functools.cache
def arrows():
    """Room: the rooms that it may use."""
    place = {}
    linked = {}
    for path in ROOT.rglob("CMakeLists.txt"):
        folder = path.parent.relative_to(ROOT).as_posix()
        if folder.split("/")[0] not in FOLDERS:
            continue
        for name, link in re.findall(r"^penstock_library\((\w+)\s.*?\bLINK\s(.*?)\)", path.read_text(encoding="utf-8"), re.M | re.S):
            inner = f"{folder}/{name}"
            place[name] = PLACES.get(name) or (inner if (ROOT / inner).is_dir() else folder)
            linked[name] = [word for word in link.split() if "::" not in word and word != "m"]
    found = {place[name]: {place[other] for other in others} for name, others in linked.items()}
    return found | INNER


def includes(text):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.M)


def module(name):
    """A header and its source are one."""
    return re.sub(r"\.[ch]$", "", name)


def room(name):
    """The deepest room that has the file."""
    parts = module(name).split("/")
    return next("/".join(parts[:n]) for n in range(len(parts), 0, -1) if "/".join(parts[:n]) in arrows())


def may_use(of):
    """A room that may use a library may use the rooms within it."""
    found = {of} | arrows()[of]
    return found | {inner for inner in INNER if "gateway/config" in found and inner.startswith("gateway/config/") and of not in INNER}


def edges():
    """(file, included file) of ours."""
    for name, text in sources():
        for target in includes(text):
            if target.split("/")[0] in FOLDERS:
                yield name, target


def circles(graph):
    """Sets of nodes that reach each other (Tarjan's strongly connected components of more than one)."""
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


def inclusions(node_of):
    graph = {}
    for name, target in edges():
        graph.setdefault(node_of(name), set()).add(node_of(target))
    return graph


@functools.cache
def uses():
    """File: the files whose public functions and data it names."""
    defined = {}
    for name in all_sources():
        if name.endswith(".c"):
            text = re.sub(r"^[ \t].*$|^#.*$", "", code(name), flags=re.M)
            for symbol in re.findall(r"^(?!static\b|typedef\b|extern\b)[A-Za-z][\w \*]*?\b(\w+)(?:\(|\[|\s*=|;)", text, re.M):
                if symbol.lower().startswith(PREFIXES[room(name)]):
                    defined.setdefault(symbol, set()).add(name)
    graph = {}
    for name in all_sources():
        if name.endswith(".c"):
            words = set(re.findall(r"(?<![\w.>])(?<!struct )(?<!enum )(?<!union )(\w+)", code(name)))
            graph[name] = {next(iter(defined[word])) for word in words & defined.keys() if len(defined[word]) == 1} - {name}
    return graph


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


@functools.cache
def homes():
    """Tag of a struct, union or enum: the rooms that define it."""
    found = {}
    for name in all_sources():
        for tag in re.findall(r"\b(?:struct|union|enum)\s+(\w+)\s*\{", code(name)):
            found.setdefault(tag, set()).add(room(name))
    return found


def test_every_arrow_goes_to_a_room():
    assert len(arrows()) > 20
    wrong = sorted(f"{of} links {other}" for of, others in arrows().items() for other in others if other not in arrows())
    assert not wrong, wrong


def test_every_arrow_is_used():
    used = {of: set() for of in arrows()}
    for name, target in edges():
        used[room(name)].add(room(target))
    for name, others in uses().items():
        used[room(name)] |= {room(other) for other in others}
    for name in all_sources():
        for tag in set(re.findall(r"\b(?:struct|union|enum)\s+(\w+)", code(name))):
            used[room(name)] |= homes().get(tag, set())
    for inner in INNER:  # a library links for the rooms within it, and is linked for them
        outer = inner.rsplit("/", 1)[0]
        if outer in used:
            used[outer] |= used[inner]
        for rooms in used.values():
            rooms |= {outer} if inner in rooms else set()
    wrong = sorted(f"{of} links {other}" for of, others in arrows().items() for other in others - used[of])
    assert not wrong, wrong


def test_no_rooms_are_in_a_circle():
    wrong = [sorted(circle) for circle in circles(arrows())]
    assert not wrong, wrong


def test_rooms_include_only_what_they_link():
    wrong = [f"{name} includes {target}" for name, target in edges() if room(target) not in may_use(room(name))]
    assert not wrong, "\n".join(wrong)


def test_rooms_name_no_struct_of_a_room_that_they_do_not_link():
    wrong = []
    for name in all_sources():
        for tag in sorted(set(re.findall(r"\b(?:struct|union|enum)\s+(\w+)", code(name)))):
            homes_of = homes().get(tag)
            if homes_of and not homes_of & may_use(room(name)):
                wrong.append(f"{name}: {tag} of {', '.join(sorted(homes_of))}")
    assert not wrong, "\n".join(wrong)


def test_no_member_hides_a_struct_behind_void():
    wrong = [f"{name}: {line.strip()}" for name, text in sources() if name.endswith(".h")
             for line in re.findall(r"^ +(?:const )?void \*\w+;[^\n]*/\*[^\n]*\bstruct \w+[^\n]*$", text, re.M)
             if not re.search(r"void \*(?:ctx|user|ptr)\b", line)]
    assert not wrong, "\n".join(wrong)


def test_no_modules_of_different_rooms_are_in_a_circle():
    wrong = [sorted(circle) for circle in circles(inclusions(module)) if len({room(name) for name in circle}) > 1]
    assert not wrong, wrong


def test_no_headers_are_in_a_circle():
    wrong = [sorted(circle) for circle in circles(inclusions(lambda name: name))]
    assert not wrong, wrong


def test_no_more_than_three_files_call_each_other():
    wrong = [sorted(circle) for circle in circles(uses()) if len(circle) > 3]
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
        prefix = PREFIXES[room(name)]
        wrong += [f"{name}: {symbol}" for symbol in sorted(public_symbols(text)) if not symbol.lower().startswith(prefix)]
    assert not wrong, "\n".join(wrong)


def test_each_library_stays_behind_its_fence():
    wrong = [f"{name} includes {target}" for name, text in sources() for target in includes(text)
             for library, files in FENCES.items() if library in target and target.split("/")[0] not in FOLDERS and name not in files]
    assert not wrong, wrong


def test_each_library_is_called_only_behind_its_fence():
    wrong = sorted({f"{name} calls {called}" for name in all_sources() for call, files in CALLS.items()
                    if not any(name.startswith(file) for file in files)
                    for called in re.findall(rf"(?<![\w.>])({call})\s*\(", code(name))})
    assert not wrong, "\n".join(wrong)


def test_every_room_has_a_readme():
    missing = sorted(of for of in arrows() if (ROOT / of).is_dir() and not (ROOT / of / "README.md").is_file())
    assert not missing, missing


def test_every_source_opens_with_its_purpose():
    wrong = [name for name, text in sources() if not text.startswith("/*")]
    assert not wrong, wrong


def test_no_file_is_too_long_to_read_at_once():
    wrong = [f"{name}: {text.count(chr(10))} lines" for name, text in sources() if text.count("\n") > 650]
    assert not wrong, wrong
