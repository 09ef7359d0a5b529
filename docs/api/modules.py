"""Which modules have a place on the pages of the API, and which are put at the end of the page of their package."""

import pkgutil
import re
from pathlib import Path

import lqtheory

LISTED = re.compile(r"automodule:: ([\w.]+)")
REST = re.compile(r"^<!-- the rest of ([\w.]+) -->$", flags=re.MULTILINE)
SECTION = "## `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n```"


def public() -> list[str]:
    """Every module of the package but private ones, the command line, and packages that only re-export."""
    found = [module.name for module in pkgutil.walk_packages(lqtheory.__path__, "lqtheory.")]
    hidden = re.compile(r"\.(_\w+|cli(\..*)?|(bounds|checkpoint|ladder|pruning|regularizers))$")
    return [name for name in found if not hidden.search(name)]


def listed() -> list[str]:
    """The modules that a page names."""
    return LISTED.findall("".join(page.read_text() for page in sorted(Path(__file__).parent.glob("*.md"))))


def rest(package: str) -> list[str]:
    """The modules of a package, not of those inside it, that no page names."""
    return [name for name in public() if name.rpartition(".")[0] == package and name not in listed()]


def complete(text: str) -> str:
    """A page with sections for the rest, where it asks for them."""
    return REST.sub(lambda m: "\n\n".join(SECTION.format(name=name) for name in rest(m[1])), text)
