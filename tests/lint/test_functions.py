"""A function is read at one look: at most 80 lines and six parameters. What needs more takes a struct, whose members have names where it
is called."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ["common", "inventory", "queue", "gateway", "loadtest"]
LINES_MAX, PARAMETERS_MAX = 80, 6
FOREIGN = {"on_request_sent"}  # an interceptor of librdkafka, which says what it takes

# A declaration or definition that begins a line; one level of brackets within its own, for pointers to functions.
FUNCTION = re.compile(r"^[A-Za-z_][\w \*\n]*?[ \*](\w+)\(((?:[^()]|\([^()]*\))*)\)[^;{}()]*(?:\([^()]*\))?\s*[;{]", re.M)


def sources():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.[ch]")):
            text = path.read_text(encoding="utf-8")
            yield path.relative_to(ROOT).as_posix(), re.sub(r"/\*.*?\*/", lambda comment: re.sub(r"[^\n]", " ", comment[0]), text, flags=re.S)


def parameters(text):
    flat = re.sub(r"\([^()]*\)", "", text)
    return [part for part in flat.split(",") if part.strip() != "..."]


def too_wide(text):
    return [name for name, inside in FUNCTION.findall(text) if len(parameters(inside)) > PARAMETERS_MAX and name not in FOREIGN]


def too_long(text):
    return [f"line {text[:body.start()].count(chr(10)) + 1}" for body in re.finditer(r"^\{\n.*?^\}$", text, re.M | re.S)
            if body[0].count("\n") + 1 > LINES_MAX]


def test_no_function_has_more_than_six_parameters():
    wrong = [f"{name}: {function}" for name, text in sources() for function in too_wide(text)]
    assert not wrong, "\n".join(wrong)


def test_no_function_is_longer_than_eighty_lines():
    wrong = [f"{name}: {place}" for name, text in sources() for place in too_long(text)]
    assert not wrong, "\n".join(wrong)


def test_this_test_sees_what_it_forbids():
    assert too_wide("int f(int a, int b, int c,\n      int d, int e, int f, int g)\n{\n}\n") == ["f"]
    assert too_wide("int f(int a, int b, int c, int d, int e, int (*f)(int, int), ...) PS_PRINTF(6, 7);\n") == []
    assert too_long("int f(void)\n{\n" + "    g();\n" * 79 + "}\n") == ["line 2"]
    assert too_long("int f(void)\n{\n" + "    g();\n" * 78 + "}\n") == []
