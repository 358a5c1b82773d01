"""The Chinese pages say what the English ones say: the same sections with as many rows and items, the same commands in the same order, and
no section of an original has changed since its page was brought up to date."""
import importlib.machinery
import importlib.util
import os
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORDS = re.compile(r'("(?:reason|note|body|title|text)"\s*:\s*)"[^"]*"')


def load():
    loader = importlib.machinery.SourceFileLoader("tests_translated", str(ROOT / "tests/translated"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("tests_translated", loader))
    loader.exec_module(module)
    return module


TRANSLATED = load()
PAGES = TRANSLATED.PAGES


def source(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name):
    """Commands and documents, without comments and without words for people. Pictures (text) are drawn in each language."""
    found = re.findall(r"^ *```(\w+)\n(.*?)^ *```$", source(name), re.M | re.S)
    return [(mark, WORDS.sub(r"\1…", re.sub(r"\s+#\s.*$", "", "\n" + text, flags=re.M))) for mark, text in found if mark != "text"]


def sections(name):
    """(level, paragraphs, rows of tables, items of lists) of each section, and its name where that is no prose: a code, an alert."""
    text = re.sub(r"^ *```.*?^ *```$", "", TRANSLATED.RECORD.sub("", source(name)), flags=re.M | re.S)
    parts = re.split(r"^(#+) (.*)$", text, flags=re.M)[1:]
    return [(len(level), heading if re.fullmatch(r"[a-z_]+|Penstock\w+", heading) else None, len(re.findall(r"\S+.*?(?:\n\s*\n|\Z)", body, re.S)),
             len(re.findall(r"^\|", body, re.M)), len(re.findall(r"^ *(?:-|\d+\.) ", body, re.M)))
            for level, heading, body in zip(parts[::3], parts[1::3], parts[2::3])]


@pytest.mark.parametrize("english", PAGES)
def test_a_chinese_page_has_the_sections_of_the_english_one(english):
    assert sections(PAGES[english]) == sections(english)


@pytest.mark.parametrize("english", PAGES)
def test_a_chinese_page_has_the_commands_of_the_english_one(english):
    assert blocks(PAGES[english]) == blocks(english)


def test_chinese_pages_lead_to_chinese_pages():
    wrong = {f"{page}: {target}" for page in PAGES.values() for label, target in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", source(page))
             if label != "English" and os.path.normpath(os.path.join(os.path.dirname(page), target.partition("#")[0])) in PAGES}
    assert not wrong, sorted(wrong)


def test_no_chinese_page_is_older_than_its_original():
    stale = TRANSLATED.stale()
    assert not stale, f"bring these sections up to date in Chinese, then run tests/translated {' '.join(stale)}: {stale}"


def test_a_changed_section_is_named():
    original = "# Page\n\nWords.\n\n## One\n\n```sh\n# a comment\n```\n\n## Two\n\nMore\nwords.\n"
    record = "\n".join(TRANSLATED.sections(original))
    chinese = f"# 页\n\n<!-- original, by section; tests/translated renews this:\n{record}\n-->\n"
    assert len(record.splitlines()) == 3
    assert TRANSLATED.changes(original, chinese) == []
    assert TRANSLATED.changes(original.replace("More\nwords", "More words"), chinese) == []
    assert TRANSLATED.changes(original.replace("a comment", "another"), chinese) == ["One: changed"]
    assert TRANSLATED.changes(original.replace("## Two", "## Three"), chinese) == ["Three: changed", "Two: gone"]
    assert TRANSLATED.changes("# Page\n\nWords.\n\n## Two\n\nMore words.\n", chinese) == ["One: gone"]
    assert TRANSLATED.changes(original, "# 页\n") == ["the page has no record of its original"]
