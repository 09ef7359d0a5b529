"""The documentation builds without a warning; every public name has its place, every link an end, figures words."""

import inspect
import re
import subprocess
import sys
import zlib
from functools import cache
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "lqtheory",
    *(f"lqtheory.{name}" for name in ("bounds", "checkpoint", "ladder", "pruning", "regularizers", "report")),
)


class Page(HTMLParser):
    """What a page links to, what it can be linked at, and its pictures."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = {"", "top"}
        self.pictures: list[dict[str, str | None]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag == "img" and "_static/" not in found["src"]:
            self.pictures.append(found)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "html"
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_strict_build(built):
    assert (built / "index.html").stat().st_size > 0


def public_names() -> set[str]:
    """Functions and classes that a package gives out, by the names under which they are defined."""
    found = set()
    for package in map(import_module, PACKAGES):
        for name in dir(package):
            each = getattr(package, name)
            if not name.startswith("_") and (inspect.isfunction(each) or inspect.isclass(each)):
                found.add(f"{each.__module__}.{each.__qualname__}")
    return {name for name in found if name.startswith("lqtheory.")}


def test_every_public_name_is_documented(built):
    raw = (built / "objects.inv").read_bytes().split(b"\n", 4)[4]
    documented = {line.split()[0] for line in zlib.decompress(raw).decode().splitlines()}
    names = public_names()
    assert len(names) > 100
    assert not names - documented


def test_no_link_is_dead(built):
    page = cache(Page)
    for path in sorted(built.rglob("*.html")):
        for link in page(path).links:
            if link.startswith(("http:", "https:", "mailto:", "data:")):
                continue
            target, anchor = urldefrag(link)
            end = (path.parent / unquote(target)).resolve() if target else path
            assert end.exists(), f"{path.name}: {link}"
            if end.suffix == ".html":
                assert unquote(anchor) in page(end).anchors, f"{path.name}: {link}"


def test_docstrings_lead_to_the_results_they_cite_and_back(built):
    api = "".join(path.read_text() for path in sorted((built / "api").glob("*.html")))
    for path in sorted((built / "theory").glob("*.html")):
        text = path.read_text()
        for result in set(re.findall(r'id="(theorem-\d+)"', text)):
            assert f"theory/{path.name}#{result}" in api, f"no docstring leads to {result}"
            section = text.partition(f'id="{result}"')[2].partition("</section>")[0]
            assert "../api/" in section, f"{result} leads to no function"


def test_every_figure_has_words(built):
    for path in sorted(built.rglob("*.html")):
        for picture in Page(path).pictures:
            assert len(picture.get("alt") or "") > 15, f"{path.name}: {picture.get('src')}"
