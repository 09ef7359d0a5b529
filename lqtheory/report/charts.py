"""The charts of a report: plain data to SVG, readable without colour and without a script."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup

from ..outline import bins, fitted
from .svg import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Axis,
    Point,
    chart,
    element,
    frame,
    join,
    log_axis,
    number,
    path,
    percent,
    power_of_ten,
)

MARKERS = ("circle", "square", "diamond", "up", "down", "cross", "star", "ring")


def lorenz_chart(curves: Mapping[str, Mapping[str, Sequence[float]]], faint: Mapping[str, Any] | None = None) -> Markup:
    """Lorenz curves, Definition 11: `curves` with a legend, `faint` ones (tensors) behind them, told by hovering."""
    x, y = Axis(0, 1, LEFT, RIGHT), Axis(0, 1, BOTTOM, TOP)
    axes = frame(x, y, "share of the weights, largest first", "share of the sum of magnitudes", percent, percent)
    equal = element("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), class_="equal")
    behind = (
        _line(x, y, curve, "faint", f"{name}: {_half(curve)}", data_name=name) for name, curve in (faint or {}).items()
    )
    front = (
        _line(x, y, curve, f"series s{k} d{k}", f"{name}: {_half(curve)}")
        for k, (name, curve) in enumerate(curves.items())
    )
    return chart("Lorenz curves of the magnitudes", axes, equal, *behind, *front)


def _line(x: Axis, y: Axis, curve: Mapping[str, Sequence[float]], kind: str, title: str, **more: object) -> Markup:
    points = [(x(a), y(b)) for a, b in zip(curve["weights"], curve["norm"], strict=True)]
    line = path(points, class_="line")
    return element("g", element("title", title), path(points, class_="hit"), line, class_=kind, **more)


def lead_chart(
    curves: Mapping[str, Mapping[str, Sequence[float]]], reference: Mapping[str, Sequence[float]], name: str
) -> Markup:
    """How far Lorenz curves lie above a reference curve."""
    leads = {label: _lead(curve, reference) for label, curve in curves.items()}
    values = [0.0, *(v for points in leads.values() for _, v in points)]
    margin = 0.08 * (max(values) - min(values)) or 0.01
    x, y = Axis(0, 1, LEFT, RIGHT), Axis(min(values) - margin, max(values) + margin, BOTTOM, TOP)
    axes = frame(x, y, "share of the weights, largest first", f"lead over {name}, in points of %", percent, _points)
    zero = element("line", x1=LEFT, x2=RIGHT, y1=y(0), y2=y(0), class_="axis")
    lines = (
        _curve(x, y, points, f"series s{k} d{k}", f"{label}: {100 * max(v for _, v in points):.2g} at most")
        for k, (label, points) in enumerate(leads.items())
    )
    return chart(f"Lead over {name}", axes, zero, *lines)


def _points(value: float) -> str:
    return f"{100 * value:+.3g}".replace("-", "−") if value else "0"


def _lead(curve: Mapping[str, Sequence[float]], reference: Mapping[str, Sequence[float]]) -> list[Point]:
    at = np.union1d(curve["weights"], reference["weights"])
    ours, theirs = (np.interp(at, c["weights"], c["norm"]) for c in (curve, reference))
    return [(float(s), float(v)) for s, v in zip(at, ours - theirs, strict=True)]


def _half(curve: Mapping[str, Sequence[float]]) -> str:
    """What a reader takes from a Lorenz curve: how many weights hold half of the norm."""
    corners = list(zip(curve["weights"], curve["norm"], strict=True))
    for (xa, ya), (xb, yb) in pairwise(corners):
        if yb >= 0.5 > ya:
            half = xa + (0.5 - ya) / (yb - ya) * (xb - xa)
            return f"half of the sum of magnitudes lies in {percent(half)} of the weights"
    return "no weights"


def histogram_chart(outline: Mapping[str, Any], rms: float) -> Markup:
    """Magnitudes in tenths of a decade, the fitted tail, and Gaussian weights of the same mean square."""
    (edges, shares), tail = bins(outline), outline["tail"]
    x = Axis(edges[0], edges[-1], LEFT, RIGHT, log=True)
    y = log_axis(shares, BOTTOM, TOP)
    axes = frame(x, y, "magnitude of a weight", "share of the weights per bin", power_of_ten, _share_tick)
    bars = join(
        element(
            "rect",
            element("title", f"{a:.3g} to {b:.3g}: {share:.3g} of the weights"),
            x=x(a) + 0.5,
            width=x(b) - x(a) - 1,
            y=y(share),
            height=BOTTOM - y(share),
            class_="bar",
        )
        for (a, b), share in zip(pairwise(edges), shares, strict=True)
        if share
    )
    normal = [(math.sqrt(a * b), _gaussian_share(a, b, rms)) for a, b in pairwise(edges)]
    lines = _curve(x, y, normal, "series s1 d1", "Gaussian weights with the same mean square")
    if tail:
        lines += _curve(x, y, fitted(outline), "series s3 d0 thick", f"fitted tail, exponent {tail['alpha']:.2f}")
    return chart("Histogram of the magnitudes", axes, bars, lines)


def _share_tick(value: float) -> str:
    return f"{100 * value:g} %" if value >= 0.01 else power_of_ten(value)


def _gaussian_share(low: float, high: float, rms: float) -> float:
    return math.erf(high / rms / math.sqrt(2)) - math.erf(low / rms / math.sqrt(2)) if rms else 0.0


def _curve(x: Axis, y: Axis, points: Sequence[Point], kind: str, title: str) -> Markup:
    """A line through the points that lie on the paper."""
    drawn = [(x(a), y(b)) for a, b in points if b >= y.low and x.low <= a <= x.high]
    line = path(drawn, class_="line")
    return element("g", element("title", title), line, class_=kind) if drawn else Markup("")


def spark(outline: Mapping[str, Any]) -> Markup:
    """The histogram of a tensor in the space of a word: four decades below its largest magnitude."""
    if not outline:
        return Markup("")
    counts = outline["magnitudes"]["counts"][-40:]
    most = max(counts) or 1
    tops = "".join(f"H{2 * k + 2}V{number(18 - 18 * count / most)}" for k, count in enumerate([*counts[1:], 0]))
    start = f"M0 18V{number(18 - 18 * counts[0] / most)}"
    return element(
        "svg", element("path", d=f"{start}{tops}V18Z"), viewBox="0 0 80 18", class_="spark", aria_hidden="true"
    )


def dumbbell(a: float, b: float) -> Markup:
    """Two values in [0, 1] on one line: A a disc, B a ring."""
    xa, xb = 4 + 112 * a, 4 + 112 * b
    return element(
        "svg",
        element("line", x1=4.0, x2=116.0, y1=9.0, y2=9.0, class_="grid"),
        element("line", x1=xa, x2=xb, y1=9.0, y2=9.0, class_="between"),
        element("circle", cx=xa, cy=9.0, r=4.0, class_="a"),
        element("circle", cx=xb, cy=9.0, r=4.0, class_="b"),
        viewBox="0 0 120 18",
        class_="dumbbell",
        aria_hidden="true",
    )


def series_chart(
    label: str,
    series: Mapping[str, Sequence[Point]],
    styles: Mapping[str, str],
    y: Axis,
    ylabel: str,
    bands: Mapping[float, str],
    group: str,
    trivial: float | None = None,
) -> Markup:
    """Lines over the sparsity. Each sparsity is a band that can be hovered or focused and reads `bands[sparsity]`.

    Infinite values are drawn on the upper edge; from `trivial` on a bound says nothing, and the ground is hatched.
    """
    at = sorted(bands)
    margin = max(0.02, (at[-1] - at[0]) * 0.04)
    x = Axis(max(at[0] - margin, 0.0), min(at[-1] + margin, 1.0) if len(at) > 1 else at[0] + margin, LEFT, RIGHT)
    ytext = power_of_ten if y.log else percent
    ground = Markup("")
    if trivial is not None and y.low < trivial < y.high:
        ground = element("rect", x=LEFT, width=RIGHT - LEFT, y=TOP, height=y(trivial) - TOP, class_="vacuous")
        ground += element("text", "vacuous: no better than knowing nothing", x=LEFT + 8, y=TOP + 16, class_="note")
    axes = frame(x, y, "sparsity: share of the weights set to zero", ylabel, percent, ytext)
    lines = join(_series(x, y, points, styles[name], name) for name, points in series.items())
    edges = [x.low, *((a + b) / 2 for a, b in pairwise(at)), x.high]
    hover = join(
        element(
            "g",
            element("title", bands[s]),
            element("rect", x=x(a), width=x(b) - x(a), y=TOP, height=BOTTOM - TOP),
            element("line", x1=x(s), x2=x(s), y1=TOP, y2=BOTTOM),
            class_="band",
            tabindex="0",
            role="img",
            aria_label=bands[s],
            data_point=f"{group}-{k}",
        )
        for k, (s, a, b) in enumerate(zip(at, edges, edges[1:], strict=False))
    )
    return chart(label, ground, axes, lines, hover)


def _series(x: Axis, y: Axis, points: Sequence[Point], style: str, name: str) -> Markup:
    shown = [(x(a), y(min(max(b, y.low), y.high))) for a, b in points if b > 0 or not y.log]
    marks = join(marker(px, py, style) for px, py in shown)
    return element("g", path(shown, class_="line"), marks, class_=f"series {style}", data_name=name)


def marker(x: float, y: float, style: str) -> Markup:
    """A mark whose shape goes with the style's number, so that lines can be told apart without colour."""
    shape = MARKERS[int(style.split()[0][1:]) % len(MARKERS)]
    px, py = number(x), number(y)
    paths = {
        "square": "m-4-4h8v8h-8z",
        "diamond": "m0-5l5 5l-5 5l-5-5z",
        "up": "m0-5l5 9h-10z",
        "down": "m0 5l5-9h-10z",
        "cross": "m-4-4l8 8m0-8l-8 8",
        "star": "m0-5v10m-4-8l8 6m0-6l-8 6",
    }
    if shape in paths:
        return element("path", d=f"M{px} {py}{paths[shape]}", class_="mark")
    return element("circle", cx=x, cy=y, r=4.0, class_="mark" if shape == "circle" else "mark open")


def swatch(style: str) -> Markup:
    """A line and its mark for a legend."""
    body = element("line", x1=2.0, x2=34.0, y1=7.0, y2=7.0, class_="line") + marker(18.0, 7.0, style)
    group = element("g", body, class_=f"series {style}")
    return element("svg", group, viewBox="0 0 36 14", class_="swatch", aria_hidden="true")


def stroke(style: str) -> Markup:
    """A line without a mark for a legend."""
    body = element("line", x1=2.0, x2=34.0, y1=7.0, y2=7.0, class_="line")
    return element("svg", element("g", body, class_=style), viewBox="0 0 36 14", class_="swatch", aria_hidden="true")
