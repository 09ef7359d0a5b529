"""Runs the examples of the gallery and writes a page for each: its words, its code, and the figure it draws."""

import ast
import runpy
from pathlib import Path

import matplotlib as mpl

PAGE = """# {title}

{words}

![{title}](figures/{name}.svg)

```python
{code}
```
"""


def examples(folder: Path) -> list[Path]:
    """The scripts of the gallery, in the order of their numbers."""
    return sorted(folder.glob("[0-9]*.py"))


def parts(script: Path) -> tuple[str, str, str]:
    """Title, words and code of an example: the first line and the rest of its docstring, and what follows."""
    tree = ast.parse(script.read_text())
    title, _, words = (ast.get_docstring(tree) or script.stem).partition("\n")
    lines = script.read_text().split("\n")
    return title.rstrip("."), words.strip(), "\n".join(lines[tree.body[0].end_lineno :]).strip()


def run(script: Path) -> dict:
    """The names an example leaves behind, `figure` among them."""
    with mpl.rc_context({"backend": "agg", "svg.hashsalt": script.stem}):
        return runpy.run_path(str(script))


def write(folder: Path) -> None:
    """Run every example and write its page and figure beside it; neither is committed."""
    (folder / "figures").mkdir(exist_ok=True)
    for script in examples(folder):
        title, words, code = parts(script)
        figure = run(script)["figure"]
        with mpl.rc_context({"svg.hashsalt": script.stem}):
            figure.savefig(folder / "figures" / f"{script.stem}.svg", metadata={"Date": None})
        page = PAGE.format(title=title, words=words, name=script.stem, code=code)
        (folder / f"{script.stem}.md").write_text(page)
