"""Every number of the documentation comes from a record or from an example that is run.

Tables and sentences with results are made from the records by `analysis/tables.py`, and compared here. On the pages
that explain, any other number that looks measured must be printed by an example of that page, or stand in CHOSEN.
"""

import re
from pathlib import Path

import pytest
import tables

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXPLAIN = (
    "index",
    "quickstart",
    "analyze",
    "compare",
    "bound",
    "report",
    "which-index",
    "ladder",
    "conventions",
    "faq",
)
PAGES = ["README.md", *(f"docs/{name}.md" for name in (*EXPLAIN, "figures"))]
CHOSEN = {  # set by us or by a paper, not measured: what a command asks for, what a name or a definition says
    "README.md": {"2206.05604"},
    "docs/figures.md": {"70 %", "95 %", "90 per cent"},
    "docs/ladder.md": {"100 %"},
    "docs/quickstart.md": {"30 %", "3.11"},
    "docs/report.md": {"5 %", "100 %", "1 %"},
    "docs/which-index.md": {"50 %", "1,2"},
    "docs/conventions.md": {"2023", "2206.05604", "2302.05601"},
}
MEASURED = re.compile(r"\d+(?:[.,]\d+)+(?: ?%)?|\d+(?: ?%| per cent)|\d{4,}|10\^\d+|\d+e[-+]?\d+")


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("page", tables.TABLES)
def test_tables_are_those_of_the_records(page):
    text = (DOCS / page).read_text()
    for rows in tables.TABLES[page]:
        assert tables.rewritten(text, tables.markdown(rows())) == text, f"{rows.__name__}: `make figures`"


@pytest.mark.parametrize(("page", "sentence"), tables.facts())
def test_sentences_have_the_numbers_of_the_records(page, sentence):
    assert sentence in squeezed((DOCS / page).read_text())


def prose(text: str) -> str:
    """What is left of a page without code, formulas, and the targets of links."""
    for part in (
        r"^```.*?^```",
        r"\$\$.*?\$\$",
        r"\{\w+\}`[^`]*`",
        r"`[^`]*`",
        r"\$[^$]*\$",
        r"\]\([^)]*\)",
        r"<[^>]+>",
    ):
        text = re.sub(part, " ", text, flags=re.MULTILINE | re.DOTALL)
    return squeezed(text)


def printed(text: str) -> str:
    """What the examples of a page print, with percentages as prose writes them."""
    shown = "\n".join(re.findall(r"^```(?:console|pycon|python)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))
    return f"{shown} {shown.replace('%', ' %')}"


@pytest.mark.parametrize("page", PAGES)
def test_no_number_comes_from_nowhere(page):
    text = (ROOT / page).read_text()
    from_records = " ".join(sentence for name, sentence in tables.facts() if page == f"docs/{name}")
    known = printed(text) + from_records
    found = set(MEASURED.findall(prose(text)))
    assert {number for number in found if number not in known} == CHOSEN.get(page, set())


def test_a_number_from_nowhere_would_be_seen():
    assert set(MEASURED.findall(prose("it takes 7.3 s and 45 % of `99.9`, 1,234 of 10^9, in 3 ways"))) == {
        "7.3", "45 %", "1,234", "10^9",
    }  # fmt: skip
    assert "61.4 %" in printed("```console\n$ lqtheory bound\nC 61.4%\n```\n")
