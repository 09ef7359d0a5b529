"""The documentation is true: its code runs, its commands exist, its links lead somewhere, its modules are all there."""

import doctest
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from lqtheory.cli import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if not page.name[0].isdigit() and "_build" not in page.parts]
FENCE = re.compile(r"^```(\{?[\w-]*\}?).*?\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
RUN, SHOWN = {"python", "pycon", "console"}, {"{toctree}", "{eval-rst}"}


def blocks(page: Path, *kinds: str) -> list[str]:
    return [body for kind, body in FENCE.findall(page.read_text()) if kind in kinds]


def named(pages: list[Path]) -> list:
    return [pytest.param(page, id=str(page.relative_to(DOCS))) for page in pages]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Where the examples run: it has the files that they name."""
    rng = np.random.default_rng(0)
    weights = {f"fc{k}.weight": rng.standard_cauchy((12, 20)).astype(np.float32) for k in range(3)}
    pruned = {name: np.where(np.abs(w) > 1, w, 0) for name, w in weights.items()}
    for name in ("model", "dense"):
        save_file(weights, tmp_path / f"{name}.safetensors")
    save_file(pruned, tmp_path / "pruned.safetensors")
    (tmp_path / "lqtheory-demo").mkdir()
    shutil.copy(ROOT / "analysis" / "results" / "demo.jsonl", tmp_path / "lqtheory-demo" / "records.jsonl")
    for path in (ROOT / "lqtheory" / "data").glob("demo*"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_block_of_code_is_of_a_kind_that_is_run():
    kinds = {kind for page in PAGES for kind, _ in FENCE.findall(page.read_text())}
    assert kinds <= RUN | SHOWN


@pytest.mark.parametrize("page", named([page for page in PAGES if blocks(page, "python")]))
def test_python_runs(page, folder):
    names: dict = {}
    for body in blocks(page, "python"):
        exec(compile(body, str(page), "exec"), names)


@pytest.mark.parametrize("page", named([page for page in PAGES if blocks(page, "pycon")]))
def test_sessions_print_what_they_show(page, folder):
    session = "\n".join(blocks(page, "pycon"))
    test = doctest.DocTestParser().get_doctest(session, {}, page.name, str(page), 0)
    assert test.examples
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert runner.run(test, out=said.append).failed == 0, "".join(said)


@pytest.mark.parametrize("page", named([page for page in PAGES if blocks(page, "console")]))
def test_commands_run_and_print_what_is_shown(page, folder, monkeypatch):
    for part in "".join(blocks(page, "console")).removeprefix("$ ").split("\n$ "):
        line, _, shown = part.partition("\n")
        words = shlex.split(line)
        if words[0] in ("pip", "eval"):
            continue
        assert words[0] == "lqtheory"
        arguments = ["demo", "--help"] if words[1] == "demo" else words[1:]  # the demo has tests of its own
        monkeypatch.setattr(sys, "argv", ["lqtheory", *arguments])
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, f"{line}: {done.output}"
        assert done.stdout.split() == shown.split() or not shown.strip(), line


def test_links_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if link.startswith("http") or "gallery/figures/" in link or re.search(r"gallery/\d", link):
                continue
            assert (page.parent / link).exists(), f"{page.name}: {link}"
        for name in re.findall(r"gallery/(?:figures/)?(\d\w+)\.(?:md|svg)", page.read_text()):
            assert (DOCS / "gallery" / f"{name}.py").exists(), f"{page.name}: {name}"


def test_results_of_the_theory_are_cited_by_numbers_that_exist():
    theory = "\n".join(page.read_text() for page in (DOCS / "theory").glob("*.md"))
    known = {f"{kind.lower()}-{n}" for kind, n in re.findall(r"^### (Definition|Theorem) (\d+)", theory, re.MULTILINE)}
    for page in PAGES:
        cited = set(re.findall(r"\{ref\}`[^`]*<([\w-]+)>`", page.read_text()))
        assert cited <= known, f"{page.name}: {sorted(cited - known)}"


def test_every_module_has_its_place_in_the_api():
    modules = SimpleNamespace(**runpy.run_path(str(DOCS / "api" / "modules.py")))
    named, pages = modules.listed(), [page.read_text() for page in sorted((DOCS / "api").glob("*.md"))]
    assert len(named) == len(set(named))
    assert set(named) <= set(modules.public())
    assert set(modules.LISTED.findall("".join(map(modules.complete, pages)))) == set(modules.public())


@pytest.mark.parametrize("script", sorted((DOCS / "gallery").glob("[0-9]*.py")), ids=lambda path: path.stem)
def test_examples_of_the_gallery_draw_a_figure(script):
    with mpl.rc_context({"backend": "agg"}):
        assert runpy.run_path(str(script))["figure"].get_axes()
