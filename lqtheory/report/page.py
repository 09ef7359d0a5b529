"""What a page is made of: sections of blocks of figures, tables and panels."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from .tables import Table


@dataclass(frozen=True)
class Figure:
    """A drawing with its legend; `table` has the numbers behind it and, with `slider`, one row per sparsity."""

    svg: Markup
    caption: str
    legend: Sequence[tuple[Markup, str]] = ()
    table: Table | None = None
    slider: bool = False
    label: str = ""
    kind: str = field(default="figure", init=False)


@dataclass(frozen=True)
class Panels:
    """Variants of which one is shown at a time, chosen by name; all of them without a script."""

    choice: str
    items: Sequence[Figure | Table]
    kind: str = field(default="panels", init=False)


@dataclass(frozen=True)
class Block:
    """A heading, a few words on how to read what follows, and what follows."""

    title: str
    text: str
    items: Sequence[Figure | Table | Panels] = ()
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """One run: the answer in words, its main figures, and the blocks."""

    title: str
    subtitle: str
    words: Sequence[str]
    figures: Sequence[tuple[str, str, str]]  # name, value, what it means
    blocks: Sequence[Block]
