"""docs/theory/theorems.md and the code point at each other."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/theory/theorems.md").read_text()
HEADINGS = re.findall(r"^### (Theorem \d+) \(", PAGE, re.MULTILINE)
SOURCES = {
    (path.name, source)
    for path in (ROOT / "lqtheory/bounds").glob("*.py")
    for source in re.findall(r"Theorem \d+", path.read_text())
}


@pytest.mark.parametrize(("file", "source"), sorted(SOURCES))
def test_every_source_has_a_heading(file, source):
    assert source in HEADINGS


def test_headings_are_in_order_and_each_names_a_function_and_a_test():
    assert sorted(set(HEADINGS), key=lambda heading: int(heading.split()[1])) == HEADINGS
    sections = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
    for section in sections:
        code = re.search(r"\*Code\*: `(?:lqtheory\.)?bounds\.(\w+)\.(\w+)`", section)
        assert code, section[:60]
        module, name = code.groups()
        assert re.search(rf"^(def|class) {name}\b", (ROOT / f"lqtheory/bounds/{module}.py").read_text(), re.MULTILINE)
        tested = re.search(r"\*Test\*: `(tests/bounds/\w+\.py)`", section)
        assert tested, section[:60]
        assert (ROOT / tested.group(1)).exists()
        assert "Proof" in section or "Citation" in section


def test_every_theorem_is_cited_by_the_code():
    assert {source for _, source in SOURCES} == set(HEADINGS)
