"""Theory and code point at each other: what the code cites is a heading, what the theory names exists."""

import inspect
import re
from functools import reduce
from importlib import import_module
from pathlib import Path

import pytest

import lqtheory

ROOT = Path(__file__).parents[1]
THEORY = "\n".join(path.read_text() for path in sorted((ROOT / "docs" / "theory").glob("*.md")))
HEADINGS = set(re.findall(r"^### ((?:Definition|Theorem) \d+)", THEORY, flags=re.MULTILINE))


def test_every_cited_result_has_a_heading():
    for path in (ROOT / "lqtheory").rglob("*.py"):
        cited = set(re.findall(r"\b(?:Definition|Theorem) \d+", path.read_text()))
        assert cited <= HEADINGS, f"{path.name} cites {sorted(cited - HEADINGS)}"


def test_every_test_named_in_the_theory_exists():
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", THEORY))
    assert named
    assert not {name for name in named if f"def {name}(" not in tests}


def test_every_function_named_in_the_theory_exists():
    for dotted in set(re.findall(r"`lqtheory\.([\w.]+)`", THEORY)):
        module, _, name = f"lqtheory.{dotted}".rpartition(".")
        try:
            import_module(f"{module}.{name}")
        except ModuleNotFoundError:
            owner, _, cls = module.rpartition(".")
            found = getattr(import_module(owner), cls) if cls[0].isupper() else import_module(module)
            assert hasattr(found, name), dotted


def sections() -> list[tuple[str, str]]:
    """Each theorem with what is written below its heading."""
    found = re.split(r"^#+ (?=Theorem \d+|[^T])", THEORY, flags=re.MULTILINE)
    return [(part.partition(" (")[0], part) for part in found if part.startswith("Theorem ")]


def named_object(dotted: str):
    """What a code span of the theory names; AttributeError or ModuleNotFoundError when it names nothing."""
    parts = f"lqtheory.{dotted.removeprefix('lqtheory.')}".split(".")
    depth = next(k for k in range(len(parts), 0, -1) if (ROOT / Path(*parts[:k])).with_suffix(".py").exists())
    return reduce(getattr, parts[depth:], import_module(".".join(parts[:depth])))


@pytest.mark.parametrize(("result", "text"), sections(), ids=lambda value: value if len(value) < 20 else "")
def test_each_theorem_and_its_function_name_each_other_and_its_test_exists(result, text):
    code = re.findall(r"`((?:lqtheory|bounds|pruning|regularizers)\.[\w.]+)`", text.rpartition("*Code*")[2])
    assert code, "no function"
    found = [named_object(dotted) for dotted in code]
    cited = re.compile(rf"\b{result}\b")
    assert any(cited.search(inspect.getsource(each)) for each in found), f"{code} do not cite {result}"
    tests = re.findall(r"`(tests/[\w/]+\.py)`", text)
    functions = set(re.findall(r"`(test_\w+)`", text))
    assert tests or functions, "no test"
    assert all((ROOT / path).exists() for path in tests)


def test_the_first_page_of_the_api_has_every_name_of_the_package():
    page = (ROOT / "docs" / "api" / "index.md").read_text()
    names = {
        name for name in dir(lqtheory) if getattr(getattr(lqtheory, name), "__module__", "").startswith("lqtheory.")
    }
    assert set(re.findall(r"`lq\.(\w+) <", page)) == names
