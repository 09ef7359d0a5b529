"""Theory and code point at each other: what the code cites is a heading, what the theory names exists."""

import re
from importlib import import_module
from pathlib import Path

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
