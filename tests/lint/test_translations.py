"""The Chinese pages say what the English ones say: the same sections with as many rows and items, the same commands in the same order."""
import os
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENGLISH_ONLY = {"protocol.md"}  # how it works: for whoever changes it
PAGES = {"README.md": "README.zh-CN.md", **{f"docs/{path.name}": f"docs/zh/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")) if path.name not in ENGLISH_ONLY}}
WORDS = re.compile(r'("(?:reason|note|body)"\s*:\s*)"[^"]*"')


def source(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name):
    """Commands and documents, without comments and without words for people. Pictures (text) are drawn in each language."""
    found = re.findall(r"^ *```(\w+)\n(.*?)^ *```$", source(name), re.M | re.S)
    return [(mark, WORDS.sub(r"\1…", re.sub(r"\s+#\s.*$", "", "\n" + text, flags=re.M))) for mark, text in found if mark != "text"]


def sections(name):
    """(level, paragraphs, rows of tables, items of lists) of each section, and its name where that is no prose: a code, an alert."""
    text = re.sub(r"^ *```.*?^ *```$", "", source(name), flags=re.M | re.S)
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
