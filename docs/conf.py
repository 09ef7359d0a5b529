"""The documentation: `python -m sphinx -W --keep-going docs docs/_build`; no network needed.

With LQTHEORY_INTERSPHINX=1 types of NumPy, SciPy, torch, Matplotlib and SymPy link to their own documentation, which
has to be fetched. The theory and the docstrings link to each other: `Definition 7` in a docstring leads to its heading,
and `lqtheory.indices.pq_index` on a page of theory to its documentation. Formulas become MathML, which browsers draw
themselves: no script is fetched.
"""

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from api import modules  # noqa: E402
from docutils.nodes import SkipNode  # noqa: E402
from gallery import made  # noqa: E402
from latex2mathml.converter import convert  # noqa: E402

import lqtheory  # noqa: E402

project = "lqtheory"
author = "the lqtheory authors"
copyright = "MIT licence"
release = version = lqtheory.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
html_theme = "furo"
html_math_renderer = "mathml"
html_title = f"lqtheory {release}"
exclude_patterns = ["_build", "gallery/README.md"]
nitpicky = True
nitpick_ignore_regex = [("py:(class|data|obj)", r"(?!lqtheory).*"), ("py:class", r".*")]  # annotations, not links

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
suppress_warnings = ["myst.xref_ambiguous", "toc.empty_glob"]
viewcode_follow_imported_members = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

if os.environ.get("LQTHEORY_INTERSPHINX") == "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "matplotlib": ("https://matplotlib.org/stable", None),
        "sympy": ("https://docs.sympy.org/latest", None),
    }

RESULT = re.compile(r"\b(Definition|Theorem) (\d+)\b")
HEADING = re.compile(r"^### (Definition|Theorem) (\d+)", flags=re.MULTILINE)
DOTTED = re.compile(r"`((?:lqtheory|bounds|pruning)\.[\w.]+)`")


def numbered() -> set[tuple[str, str]]:
    """The results that have a heading."""
    pages = sorted((ROOT / "docs" / "theory").glob("*.md"))
    return {found for page in pages for found in HEADING.findall(page.read_text())}


NUMBERED = numbered()


def label(kind: str, number: str) -> str:
    return f"{kind.lower()}-{number}"


def link_docstring(app, what, name, obj, options, lines):
    """Markdown habits of the docstrings to reStructuredText: `$...$`, single backticks, links to the theory."""
    text = "\n".join(lines)
    kept: list[str] = []

    def keep(rst: str) -> str:
        kept.append(rst)
        return f"\0{len(kept) - 1}\0"

    text = re.sub(r"^ *>>>.*(?:\n(?! *$).*)*", lambda m: keep(m[0]), text, flags=re.MULTILINE)
    text = re.sub(r"\$([^$]+)\$", lambda m: keep(f":math:`{' '.join(m[1].split())}`"), text)
    text = re.sub(r"(?<!`)`([^`\n]+)`(?!`)", lambda m: keep(f"``{m[1]}``"), text)
    text = text.replace("|", r"\|").replace("*", r"\*")
    text = RESULT.sub(lambda m: keep(f":ref:`{m[0]} <{label(*m.groups())}>`") if m.groups() in NUMBERED else m[0], text)
    lines[:] = re.sub("\0(\\d+)\0", lambda m: kept[int(m[1])], text).split("\n")


def link_theory(app, docname, source):
    """Labels for the headings of the theory, and links from its code spans to the functions."""
    if not docname.startswith("theory/"):
        return
    text = HEADING.sub(lambda m: f"({label(*m.groups())})=\n{m[0]}", source[0])
    text = re.sub(r"^## ", "# ", text, flags=re.MULTILINE)  # one page, one title
    text = re.sub(r"^### ", "## ", text, flags=re.MULTILINE)
    source[0] = DOTTED.sub(_reference, text)


def complete_api(app, docname, source):
    """Modules that no page of the API names, at the end of the page of their package."""
    if docname.startswith("api/"):
        source[0] = modules.complete(source[0])


def _reference(match: re.Match[str]) -> str:
    dotted = match[1] if match[1].startswith("lqtheory.") else f"lqtheory.{match[1]}"
    is_module = (ROOT / Path(*dotted.split("."))).with_suffix(".py").exists()
    return f"{{py:{'mod' if is_module else 'obj'}}}`{dotted}`"


def visit_inline_math(translator, node):
    translator.body.append(convert(node.astext()))
    raise SkipNode


def visit_math_block(translator, node):
    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise SkipNode


def setup(app):
    made.write(ROOT / "docs" / "gallery")
    app.add_html_math_renderer("mathml", (visit_inline_math, None), (visit_math_block, None))
    app.connect("autodoc-process-docstring", link_docstring)
    app.connect("source-read", link_theory)
    app.connect("source-read", complete_api)
