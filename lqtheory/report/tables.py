"""Tables that a browser can sort and filter, and that read as tables without any script."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from .svg import element, percent


@dataclass(frozen=True)
class Column:
    """A heading, what it means, and whether its cells are numbers."""

    label: str
    meaning: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and the number it is sorted by; `shade` in [0, 1] colours it, `bar` fills it."""

    text: str | Markup
    value: float | None = None
    shade: float | None = None
    bar: float | None = None

    def html(self, numeric: bool) -> Markup:
        """The cell as an element of a row; a dash among numbers stands where they stand."""
        value = None if self.value is None else f"{self.value:.6g}"
        if self.bar is not None:
            return element("td", self.text, data_v=value, class_="bar", style=f"--b:{100 * self.bar:.1f}%")
        if self.shade is not None:
            shade = min(max(self.shade, 0.0), 1.0)
            return element("td", self.text, data_v=value, class_="shade", style=f"--v:{100 * shade:.0f}%")
        return element("td", self.text, data_v=value, class_="number" if numeric and value is None else None)


def share_cell(value: float | None, shade: float | None = None) -> Cell:
    """A share in percent."""
    return Cell("–") if value is None else Cell(percent(value), value, shade)


def number_cell(value: float | None, shade: float | None = None) -> Cell:
    """An index with three decimals."""
    return Cell("–") if value is None else Cell(f"{value:.3f}", value, shade)


def breakable(name: str) -> Markup:
    """A name that may be broken after its dots.

    >>> str(breakable("layer1.<b>"))
    'layer1.<wbr>&lt;b&gt;'
    """
    return Markup(".<wbr>").join(name.split("."))


@dataclass(frozen=True)
class Table:
    """Rows of a name and its cells; `caption` says what they show, `points` link them to the points of a chart."""

    caption: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    filtered: bool = True
    points: Sequence[str] = field(default=())
    label: str = ""
    folded: bool = False
    kind: str = field(default="table", init=False)

    def body(self) -> Markup:
        """The rows."""
        points = self.points or [None] * len(self.rows)
        return Markup("\n").join(
            element(
                "tr",
                element("th", breakable(name), scope="row"),
                Markup("").join(c.html(column.numeric) for c, column in zip(cells, self.columns[1:], strict=True)),
                data_point=point,
            )
            for (name, cells), point in zip(self.rows, points, strict=True)
        )
