"""SVG and HTML elements, and the axes of a chart; every text and attribute is escaped where it is put in."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640.0, 380.0
LEFT, RIGHT, TOP, BOTTOM = 66.0, 616.0, 14.0, 326.0

NO_BREAK = "\u00a0"

Point = tuple[float, float]


def element(name: str, *children: object, **attributes: object) -> Markup:
    """An element; `class_` is the attribute class, underscores become hyphens, None leaves an attribute out.

    >>> str(element("text", "a < b", x=1.25, class_="tick"))
    '<text x="1.25" class="tick">a &lt; b</text>'
    """
    head = "".join(f' {_name(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None)
    body = "".join(escape(child) for child in children)
    return Markup(f"<{name}{head}>{body}</{name}>" if body or name in ("td", "th") else f"<{name}{head}/>")


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: object) -> str:
    return number(value) if isinstance(value, float) else escape(value)


def number(value: float) -> str:
    """A coordinate with two decimals at most.

    >>> number(2.5), number(3.0), number(-0.001)
    ('2.5', '3', '0')
    """
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def join(parts: Iterable[Markup]) -> Markup:
    """Elements one after the other."""
    return Markup("").join(parts)


def path(points: Iterable[Point], **attributes: object) -> Markup:
    """A line through the points; empty when there is none."""
    steps = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    return element("polyline", points=steps, fill="none", **attributes) if steps else Markup("")


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` laid out from pixel `start` to pixel `end`, evenly or by their logarithms."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values, five or so; on a logarithmic axis powers of ten.

        >>> Axis(0, 1, 0, 100).ticks()
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        >>> Axis(0.5, 2e4, 0, 100, log=True).ticks()
        [1.0, 10.0, 100.0, 1000.0, 10000.0]
        """
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            stride = max(1, math.ceil((last - first + 1) / 7))
            return [10.0**k for k in range(first, last + 1, stride)]
        rough = (self.high - self.low) / 5
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def log_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """A logarithmic axis with whole decades around the positive values."""
    positive = [v for v in values if 0 < v < math.inf] or [1.0]
    low, high = 10.0 ** math.floor(math.log10(min(positive))), 10.0 ** math.ceil(math.log10(max(positive)))
    return Axis(low, high if high > low else low * 10, start, end, log=True)


def frame(
    x: Axis, y: Axis, xlabel: str, ylabel: str, xtext: Callable[[float], str], ytext: Callable[[float], str]
) -> Markup:
    """Grid, ticks and labels."""
    across = (
        element("line", x1=LEFT, x2=RIGHT, y1=y(v), y2=y(v), class_="grid")
        + element("text", ytext(v), x=LEFT - 8, y=y(v) + 4, text_anchor="end", class_="tick")
        for v in y.ticks()
    )
    along = (
        element("line", x1=x(v), x2=x(v), y1=BOTTOM, y2=BOTTOM + 5, class_="axis")
        + element("text", xtext(v), x=x(v), y=BOTTOM + 20, text_anchor="middle", class_="tick")
        for v in x.ticks()
    )
    line = element("line", x1=LEFT, x2=RIGHT, y1=BOTTOM, y2=BOTTOM, class_="axis")
    middle = (TOP + BOTTOM) / 2
    labels = element("text", xlabel, x=(LEFT + RIGHT) / 2, y=BOTTOM + 44, text_anchor="middle", class_="label")
    labels += element(
        "text", ylabel, x=16.0, y=middle, text_anchor="middle", class_="label", transform=f"rotate(-90 16 {middle:g})"
    )
    return join([*across, *along, line, labels])


def chart(label: str, *parts: Markup, width: float = WIDTH, height: float = HEIGHT) -> Markup:
    """A whole drawing, named for a screen reader."""
    return element(
        "svg", *parts, viewBox=f"0 0 {number(width)} {number(height)}", role="group", aria_label=label, class_="chart"
    )


def percent(value: float) -> str:
    """A share in percent; 0 and 100 are only said of exactly none and exactly all. The space does not break.

    >>> [percent(x).replace(NO_BREAK, " ") for x in (0.5, 0.042, 0.99999, 1e-9, 1)]
    ['50 %', '4.2 %', '99.9 %', '< 0.1 %', '100 %']
    """
    if 0 < value < 0.0005:
        return f"<{NO_BREAK}0.1{NO_BREAK}%"
    if 0.0995 <= value < 0.985 or value in (0, 1):
        return f"{100 * value:.0f}{NO_BREAK}%"
    return tenths(min(value, 0.999) if value < 1 else value)


def tenths(value: float) -> str:
    """A share in percent with one decimal, as accuracies are given.

    >>> tenths(0.89).replace(NO_BREAK, " ")
    '89.0 %'
    """
    return f"{100 * value:.1f}{NO_BREAK}%"


def power_of_ten(value: float) -> str:
    """A tick of a logarithmic axis.

    >>> power_of_ten(1e-3), power_of_ten(10.0)
    ('10⁻³', '10')
    """
    exponent = round(math.log10(value))
    if exponent in (0, 1, 2):
        return str(10**exponent)
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def short(value: float) -> str:
    """Three digits; ∞ and – where there is no number.

    >>> short(0.04132), short(1034.2), short(float("inf")), short(float("nan"))
    ('0.0413', '1030', '∞', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.3g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    if 0 <= int(exponent) < 6:
        return f"{float(text):.0f}"
    digits = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}·10{digits}"
