"""The committed figures are those of the committed records, byte by byte, and the documentation shows each of them."""

import re
from pathlib import Path

import matplotlib as mpl
import pytest
import series

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


def test_paths_span_the_seeds_where_all_have_a_value():
    def line(seed, path, strength=1.0, penalty="l1", network="net"):
        setting = {"network": network, "penalty": penalty, "strengths": {"alpha": strength}, "seed": seed}
        return {"setting": setting, "validation": {"path": path}}

    lines = [line(0, {"3": 0.9, "6": 0.8, "9": 0.5}), line(1, {"3": 0.7, "6": 0.9}), line(2, {"3": 0.8, "6": 0.7})]
    others = [
        line(0, {"3": 0.1}, strength=2.0),
        line(0, {"3": 0.2}, network="other"),
        line(0, {"4": 0.3}, penalty="l0"),
    ]
    found = series.paths(lines + others, "net")
    assert found["l1"] == [(0.5, 0.7, 0.8, 0.9), (0.75, 0.7, 0.8, 0.9)]
    assert [row[1:] for row in found["l0"]] == [(0.3, 0.3, 0.3)]
    assert set(found) == {"l1", "l0"}
