"""The console's words: each in both languages, in one table, and used. What a browser gets is small, ours alone, and asks no other host."""
import gzip
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("common/console", "gateway/console", "loadtest/console")
FOREIGN = {"uplot.js", "uplot.css"}

TABLE = re.compile(r"^add_words\(\{\n(.*?)^\}\);$", re.M | re.S)
ROW = re.compile(r"^    '([\w.]+)': \{en: '((?:[^'\\]|\\.)+)', zh: '((?:[^'\\]|\\.)+)'\},$")
KEY = re.compile(r"'([a-z_]+\.[a-z][\w.]*)'")
BEGINNING = re.compile(r"'([a-z_]+\.(?:[a-z]\w*[_-])?)' \+")
# A key of words, and no name of a file, a place, or a pointer.
FILES = re.compile(r"\.(js|css|html|svg|language|look)$")


def files(*suffixes):
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*") if path.suffix in suffixes and path.name not in FOREIGN)


def rows(text):
    for table in TABLE.findall(text):
        for line in table.splitlines():
            yield line, ROW.fullmatch(line)


def used(text):
    body = TABLE.sub("", re.sub(r"/\*.*?\*/", "", text, flags=re.S))
    return {key for key in KEY.findall(BEGINNING.sub("", body)) if not FILES.search(key)}, set(BEGINNING.findall(body))


def wrong_words(texts):
    """What is wrong with the words of {name: text}."""
    where, keys, beginnings = {}, set(), set()
    for name, text in texts.items():
        if len(re.findall(r"^\s*add_words\(", text, re.M)) != len(TABLE.findall(text)):
            yield f"{name}: a table of words that lint cannot read"
        for line, row in rows(text):
            if row is None:
                if line.strip():
                    yield f"{name}: not 'key': {{en: '…', zh: '…'}}, in one line: {line.strip()}"
                continue
            key, english, chinese = row.groups()
            if key in where:
                yield f"{name}: {key} is in {where[key]}, too"
            where[key] = name
            if set(re.findall(r"\{\w+\}", english)) != set(re.findall(r"\{\w+\}", chinese)):
                yield f"{name}: {key} has other places in English than in Chinese"
        now, begun = used(text)
        keys |= now
        beginnings |= begun
    for key in sorted(keys - where.keys()):
        yield f"{key} is in no table of words"
    for key in sorted(where.keys() - keys):
        if not any(key.startswith(beginning) for beginning in beginnings):
            yield f"{where[key]}: nobody uses {key}"


def test_every_word_is_there_in_both_languages_and_used():
    wrong = list(wrong_words({path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files(".js")}))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("text, found", [
    ("add_words({\n    'a.b': {en: 'x', zh: '一'},\n});\nt('a.b')", None),
    ("t('a.b')", "in no table"),
    ("add_words({\n    'a.b': {en: 'x', zh: '一'},\n});", "nobody uses"),
    ("add_words({\n    'a.b': {en: 'x'},\n});\nt('a.b')", "not 'key'"),
    ("add_words({\n    'a.b': {en: '{n} x', zh: '一'},\n});\nt('a.b')", "other places"),
    ("add_words({\n    'a.b_c': {en: 'x', zh: '一'},\n});\nt('a.b_' + c)", None),
])
def test_this_test_sees_what_it_forbids(text, found):
    wrong = "\n".join(wrong_words({"x.js": text}))
    assert (found in wrong) if found else not wrong, wrong


def test_chinese_texts_are_chinese():
    same = [f"{path.name}: {row[1]}" for path in files(".js") for _, row in rows(path.read_text(encoding="utf-8"))
            if row and not re.search("[\u4e00-\u9fff]", row[3]) and re.sub(r"\{\w+\}|\bp\d+\b", "", row[2]).strip(" :,·")
            and not re.fullmatch(r"[\w.]+", row[3])]
    assert not same, same


# --- What the gateway says, in Chinese. ---

SAID = re.compile(r"^    \['((?:[^'\\]|\\.)+)', '((?:[^'\\]|\\.)+)'\],$", re.M)
LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
# Literals side by side are one; a macro of <inttypes.h> stands between two of them.
STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"(?:[\s\\]*(?:PRI\w+)?[\s\\]*"(?:[^"\\\n]|\\.)*")*')
CONVERSION = re.compile(r"%[-+ #0]*[\d*]*(?:\.[\d*]+)?(?:ll|l|z|h)?[a-zA-Z]|%(?=\s|$)")


# What differs in a row: see said() in dom.js.
HOLE = re.compile(r"\{(?:|number|unit|words)\}")


def unquoted(text):
    return re.sub(r"\\(.)", r"\1", text)


def texts_of_c():
    """All strings of the gateway, what differs in them cut out."""
    texts = []
    for path in (path for folder in ("gateway", "common") for path in (ROOT / folder).rglob("*.[ch]")):
        for string in STRING.findall(path.read_text(encoding="utf-8")):
            whole = unquoted("".join(LITERAL.findall(string)))
            texts.append("%".join(CONVERSION.sub("\0", part) for part in whole.split("%%")))
    return "\n".join(texts)


def said():
    return {unquoted(english): unquoted(chinese) for english, chinese in SAID.findall((ROOT / "gateway/console/said_zh.js").read_text(encoding="utf-8"))}


def test_each_row_of_what_the_gateway_says_is_said_by_the_gateway():
    of_c = texts_of_c()
    wrong = [english for english in said() for part in HOLE.split(english) if len(part.strip(' ;:,."()%')) > 3 and part.strip(' ;:,."()%') not in of_c]
    assert not wrong, wrong


def test_rows_of_what_the_gateway_says_name_all_that_differs():
    rows = said()
    assert len(rows) > 300 and len(rows) == (ROOT / "gateway/console/said_zh.js").read_text(encoding="utf-8").count("\n    [")
    assert not [english for english, chinese in rows.items() if HOLE.findall(english) != HOLE.findall(chinese) or not re.search("[\u4e00-\u9fff]", chinese)]


def test_every_verdict_and_every_feature_has_its_row():
    rows, wanted = said(), []
    for name, macro in (("gateway/answers/verdict.h", "ANS_VERDICT_TABLE"), ("gateway/config/kinds/feature_doc.h", "CFG_FEATURES")):
        table = re.search(rf"#define {macro}\(X\)((?:.*\\\n)+.*)", (ROOT / name).read_text(encoding="utf-8"))[1]
        wanted += [text for text in map(unquoted, LITERAL.findall(table)) if text]
    assert len(wanted) > 150 and not [text for text in wanted if text not in rows]


def test_every_file_of_the_console_is_part_of_the_program():
    listed = {path.name for path in files(".js", ".css", ".html", ".svg")} - {path.name for path in files(".js", ".css", ".html", ".svg") if path.parent.name == "loadtest"}
    built = set()
    for name in ("common", "gateway", "loadtest"):
        text = (ROOT / name / "CMakeLists.txt").read_text(encoding="utf-8")
        for table in re.findall(r"penstock_assets\(\w+\s(.*?)\)", text, re.S):
            built |= {pathlib.PurePath(word).name for word in table.split()}
    assert listed | FOREIGN == built | {"report.css"}  # of the report's template


def test_nothing_is_inline_and_nothing_comes_from_another_host():
    for path in files(".js", ".css", ".html"):
        text = re.sub(r"/\*.*?\*/|<!--.*?-->", "", path.read_text(encoding="utf-8"), flags=re.S)
        assert not re.search(r"https?://(?!www\.w3\.org/)|//\w+\.\w+/", text), path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", text), path
        if path.suffix == ".html":
            assert not re.search(r"<style|style=|\bon\w+=|<script(?![^>]*\bsrc=)", text), path


def test_the_first_page_is_small():
    """What it needs, as a browser gets it: below 200 KB."""
    first = [*(ROOT / "common/console").glob("*.*s*"), *(ROOT / "gateway/console" / name for name in ("index.html", "main.js", "api.js", "router.js", "desk.js", "pages.js"))]
    size = sum(len(gzip.compress(path.read_bytes())) for path in first if path.suffix in (".js", ".css", ".html", ".svg"))
    assert 20_000 < size < 200_000, size


def test_every_module_is_javascript(tmp_path):
    for path in files(".js"):
        module = tmp_path / (path.stem + ".mjs")
        shutil.copy(path, module)
        done = subprocess.run(["node", "--check", str(module)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_every_import_of_a_module_is_exported_by_it():
    where = {path.name: path.read_text(encoding="utf-8") for path in files(".js")}
    exported = {name: set(re.findall(r"^export (?:async )?(?:function|class|const|let) (\w+)", text, re.M)) for name, text in where.items()}
    exported["dom.js"] |= exported["format.js"]
    wrong = [f"{name}: {one} from {of}" for name, text in where.items() for names, of in re.findall(r"^import \{([^}]+)\} from '\./(\w+\.js)'", text, re.M)
             for one in re.split(r",\s*", names.strip()) if one.split(" as ")[0] not in exported.get(of, ())]
    assert not wrong, wrong
