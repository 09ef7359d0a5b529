"""Figures show what the records say, and the same records give the same bytes."""

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import lqtheory
from lqtheory import plot
from lqtheory.indices import lorenz
from lqtheory.outline import outline
from lqtheory.profile import Profile
from lqtheory.records import Record


def record(method: str, quantity: str, tier: str, sparsity: float, bound: float, measured: float) -> Record:
    setting = {"method": method, "quantity": quantity, "trivial": 10.0, "dense_accuracy": 0.9}
    setting |= {"accuracy": 0.9 - sparsity / 10, "certified_accuracy": 0.9 - sparsity}
    violated = measured > bound
    provenance = {"seed": 0, "versions": {}, "commit": None, "device": "cpu"}
    return Record(
        tier, "Theorem 1", sparsity, bound, measured, bound / measured, False, violated, setting, **provenance
    )


RECORDS = [
    record(method, quantity, tier, sparsity, factor * sparsity, sparsity)
    for method in ("keep rule", "uniform")
    for quantity in ("output_error", "harm")
    for sparsity in (0.9, 0.1, 0.5)
    for tier, factor in (("A", 100.0), ("B", 10.0), ("C", 2.0))
]


@pytest.fixture
def ax():
    return Figure().subplots()


def lines(ax) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in ax.get_lines()}


def test_each_tier_and_the_measurement_are_drawn_by_rising_sparsity(ax):
    assert plot.bound_against_measurement(RECORDS, "keep rule", "output_error", ax) is ax
    drawn = lines(ax)
    assert drawn["measured"] == [(0.1, 0.1), (0.5, 0.5), (0.9, 0.9)]
    assert drawn["bound A, closed form"] == [(0.1, 10.0), (0.5, 50.0), (0.9, 90.0)]
    assert ax.get_yscale() == "log"


@pytest.mark.parametrize(("bound", "text"), [(0.6, "0 of 9 bounds violated"), (0.4, "1 of 9 bounds violated")])
def test_the_count_of_violations_is_in_the_figure(ax, bound, text):
    chosen = [r for r in RECORDS if r.tier == "C" and r.sparsity == 0.5]
    others = [r for r in RECORDS if r not in chosen]
    changed = [replace(r, bound=bound, violated=r.measured > bound) for r in chosen]
    plot.bound_against_measurement(others + changed, "keep rule", "output_error", ax)
    assert text in [note.get_text() for note in ax.texts]


def test_accuracy_and_guarantee_are_drawn_for_each_method(ax):
    plot.accuracy_by_method(RECORDS, "C", ax)
    drawn = lines(ax)
    assert drawn["keep rule"] == drawn["uniform"] == [(s, 0.9 - s / 10) for s in (0.1, 0.5, 0.9)]
    dashed = [line for line in ax.get_lines() if line.get_linestyle() == "--"]
    assert [list(line.get_ydata()) for line in dashed] == [[0.9 - s for s in (0.1, 0.5, 0.9)]] * 2


def test_every_method_is_drawn_or_the_figure_refused(ax):
    one = [r for r in RECORDS if r.setting["method"] == "uniform"]
    many = [replace(r, setting={**r.setting, "method": f"method {k}"}) for k in range(8) for r in one]
    with pytest.raises(ValueError, match=r"at most 7 series, got 8: method 0, .*, method 7"):
        plot.accuracy_by_method(many, "C", ax)
    plot.accuracy_by_method(many, "C", ax, [f"method {k}" for k in range(7, 0, -1)])
    labels = [label for label in lines(ax) if label.startswith("method")]
    assert labels == [f"method {k}" for k in range(7, 0, -1)]


def test_tiers_differ_without_colour():
    styles = [*plot.TIERS.values(), plot.MEASURED]
    assert len({style["marker"] for style in styles}) == len(styles)
    assert len({style["marker"] for style in plot.METHODS}) == len(plot.METHODS)
    assert len({style["color"] for style in plot.METHODS}) == len(plot.METHODS)


def test_records_that_are_not_there_are_asked_for_by_name(ax):
    with pytest.raises(ValueError, match="none of method 'lamp' and quantity 'harm'"):
        plot.bound_against_measurement(RECORDS, "lamp", "harm", ax)


def test_the_same_records_give_the_same_bytes_and_settings_stay_as_they_were(tmp_path):
    before = dict(mpl.rcParams)
    first, second = (
        plot.save(plot.bound_vs_measured(RECORDS, "keep rule"), tmp_path / name) for name in ("first", "second")
    )
    assert [path.suffix for path in first] == [".pdf", ".png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert b"CreationDate" not in first[0].read_bytes()
    assert dict(mpl.rcParams) == before


def test_lorenz_curves_pass_through_their_corners(ax):
    assert plot.lorenz({"A": Profile.of([3, 1]), "B": Profile.of([1, 1]), "zero": Profile.of([0, 0])}, ax) is ax
    drawn = lines(ax)
    assert drawn["A"] == [(0, 0), (0.5, 0.75), (1, 1)]
    assert drawn["B"] == [(0, 0), (0.5, 0.5), (1, 1)]
    assert "zero" not in drawn


def test_long_lorenz_curves_are_thinned_to_true_corners(ax):
    profile = Profile.of(np.random.default_rng(0).standard_cauchy(50_000))
    points = lines(plot.lorenz({"w": profile}, ax))["w"]
    (x, y), drawn = lorenz(profile), np.array(points).T
    assert len(points) < 1000
    assert points[0] == (0, 0)
    assert points[-1] == (1, 1)
    assert set(points) <= set(zip(x, y, strict=True))
    assert np.abs(np.interp(x, *drawn) - y).max() < 1 / 1000


def test_a_lorenz_figure_without_weights_is_refused():
    with pytest.raises(ValueError, match="got none in network"):
        plot.lorenz({"network": None})


def test_results_plot_themselves_on_axes_of_their_own():
    pyplot.switch_backend("agg")
    rng = np.random.default_rng(1)
    a, b = ({"w": rng.standard_normal((8, 8)) ** power} for power in (1, 3))
    assert {"network", "Gaussian"} <= lines(lqtheory.analyze(a).plot()).keys()
    assert {"A", "B"} <= lines(lqtheory.compare(a, b, resamples=0).plot()).keys()
    pyplot.close("all")


PARETO = Profile.of((1 - np.random.default_rng(3).random(100_000)) ** (-1 / 2.5))


def test_the_histogram_has_all_weights_and_the_tail_lies_on_it(ax):
    drawn = outline(PARETO)
    assert plot.histogram(drawn, ax) is ax
    (bars,) = ax.patches
    values, edges, _ = bars.get_data()
    assert np.sum(values) == pytest.approx(1, rel=1e-12)
    assert edges[0] <= PARETO.magnitudes[0] < PARETO.magnitudes[-1] < edges[-1]
    fit = dict(lines(ax)[f"fitted tail, exponent {drawn['tail']['alpha']:.2f}"])
    assert drawn["tail"]["alpha"] == pytest.approx(2.5, rel=0.05)
    measured = dict(zip(np.sqrt(edges[1:] * edges[:-1]), values, strict=True))
    near = [x for x in fit if fit[x] > 1e-3]
    assert len(near) >= 5
    assert [fit[x] for x in near] == pytest.approx(
        [measured[min(measured, key=lambda y: abs(y - x))] for x in near], rel=0.2
    )


def test_heat_map_and_budget_show_each_layer(ax):
    rows = {"first": {"0.25": 0.5, "0.5": 0.4}, "second": {"0.25": 0.9, "0.5": 0.8}}
    assert plot.heat_map(rows, ax) is ax
    assert ax.images[0].get_array().tolist() == [[0.5, 0.4], [0.9, 0.8]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"]
    other = Figure().subplots()
    plot.budget({"first": {"0.01": 0.9, "0.5": 0.2}, "second": {"0.01": 1.0, "0.5": 0.3}}, other)
    assert [bar.get_width() for bar in other.patches] == [0.9, 1.0, 0.2, 0.3]
    assert [text.get_text() for text in other.get_legend().get_texts()] == ["1%", "50%"]


def test_presets_have_the_width_of_a_column_and_leave_no_trace():
    before = dict(mpl.rcParams)
    with plot.publication():
        assert mpl.rcParams["pdf.fonttype"] == 42
        assert plot.figure("double", ratio=0.5).get_size_inches().tolist() == [6.95, 3.475]
    assert dict(mpl.rcParams) == before
    with pytest.raises(ValueError, match="columns must be one of single, double"):
        plot.figure("triple")
