"""The committed figures are those of the committed records, byte by byte, and the documentation shows each of them."""

import re
from pathlib import Path

import matplotlib as mpl
import pytest

import figures

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("name", figures.FIGURES)
def test_drawing_again_gives_the_same_bytes(name, tmp_path):
    committed = (ROOT / "figures" / f"{name}.svg").read_bytes()
    version = f"Matplotlib v{mpl.__version__},".encode()
    if version not in committed:
        pytest.skip(f"figures/{name}.svg was drawn by another version than {mpl.__version__}: `make figures`")
    assert figures.draw(name, tmp_path).read_bytes() == committed


def test_no_figure_is_left_over_and_all_are_small():
    drawn = sorted((ROOT / "figures").iterdir())
    assert [path.name for path in drawn] == sorted(f"{name}.svg" for name in figures.FIGURES)
    assert sum(path.stat().st_size for path in drawn) < 3e6


def test_each_figure_is_shown_with_words_in_its_place():
    shown = "\n".join(page.read_text() for page in PAGES if "_build" not in page.parts)
    for name in figures.FIGURES:
        assert re.search(rf"!\[[^\]]{{20,}}\]\((?:\.\./)*figures/{name}\.svg\)", shown), name
