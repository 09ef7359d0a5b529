"""Sweep modules: networks x methods x sparsities x seeds, each point pruned, evaluated, recorded, none done twice."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from . import evaluate, records
from .bounds import harm, harm_rate
from .evaluate import Sample
from .ladder.beside import TIERS, Beside
from .models import Data
from .pruning.recipe import Pruned, Recipe
from .pruning.running import Inputs, evaluating, first_tensor
from .records import Provenance, Record
from .verification import Outcome, Pair

if TYPE_CHECKING:
    import pandas as pd

BATCH = 250


@dataclass(frozen=True)
class Point:
    """One pruned network to be evaluated: the recipe called `method`, at this sparsity and seed."""

    network: str
    method: str
    sparsity: float
    seed: int

    @property
    def key(self) -> str:
        """What the records of the point have in common, and no others."""
        return f"{self.network} | {self.method} | {self.sparsity!r} | {self.seed}"


@dataclass(frozen=True, eq=False)
class Bench:
    """A dense network with the data to judge it on and the calibration inputs; what is dense is computed once.

    `tiers` are those of the ladder that are about a sample: the first `inputs` of the data, a sixtieth when not given.
    """

    model: nn.Module
    data: Data
    calibration: Inputs | None = None
    device: str = "cpu"
    tiers: Sequence[str] = TIERS
    inputs: int | None = None

    @cached_property
    def outcome(self) -> Outcome:
        """What the dense network answers."""
        return self.judged(self.model)

    def judged(self, model: nn.Module) -> Outcome:
        """What a network of this kind answers on the data."""
        return outcome(model, self.data, self.device)

    def described(self, model: nn.Module) -> Mapping[str, Any]:
        """What else the records are to say of a pruned network: nothing."""
        return {}

    def bounds(self, model: nn.Module) -> list[tuple[str, str, Pair]]:
        """Tier, quantity, and the bound with its measurement, of a pruned network."""
        return self.beside(model)

    @cached_property
    def beside(self) -> Beside:
        """The bounds that are set beside every pruned network."""
        sample = Sample(self.data.name, self.data.x.cpu().numpy(), self.data.y.cpu().numpy().astype(np.int64))
        return Beside.of(self.model, sample, self.tiers, self.inputs)

    def prune(self, recipe: Recipe) -> Pruned:
        """The network pruned by the recipe, re-fitted when the recipe has a fit and there is calibration data."""
        return recipe(self.model, refit=self.calibration)


def outcome(model: nn.Module, data: Data, device: str = "cpu") -> Outcome:
    """What a module answers on the data, in its own precision, and where it is right."""
    with evaluating(model), torch.inference_mode():
        pieces = [first_tensor(model(x.to(device))).to("cpu", torch.float64) for x in data.x.split(BATCH)]
    logits = torch.cat(pieces).numpy()
    return Outcome(logits, logits.argmax(axis=1) == data.y.numpy())


def measured(
    bench: Bench, point: Point, recipe: Recipe, provenance: Provenance, confidence: float = 0.95
) -> list[Record]:
    """All records of a point: the statistical tier for every network, and those of the ladder that the bench has.

    Tier G is about the population that the data are drawn from, the others are about the first inputs.
    """
    pruned = bench.prune(replace(recipe, sparsity=point.sparsity, seed=point.seed))
    before, after = bench.outcome, bench.judged(pruned.model)
    about = {
        "network": point.network,
        "method": point.method,
        "recipe": recipe.describe() | {"sparsity": point.sparsity, "seed": point.seed},
        "data": bench.data.name,
        "samples": len(bench.data),
        "kept": pruned.kept,
        "weights": pruned.weights,
        "dense_accuracy": before.accuracy,
        "accuracy": after.accuracy,
        "agreement": 1 - evaluate.changed_predictions(before.logits, after.logits),
        "output_error": evaluate.output_error(before.logits, after.logits),
        **bench.described(pruned.model),
        "point": point.key,
    }
    lost = harm(before.correct, after.correct)
    limit = harm_rate(lost, len(bench.data), confidence)
    share = {"certified_accuracy": max(before.accuracy - limit.value, 0.0), "confidence": confidence}
    found = [("G", "harm", Pair(limit, lost / len(bench.data), before.accuracy, share))]
    found += bench.bounds(pruned.model)
    about["of"] = len(found)
    own = replace(provenance, seed=point.seed)
    return [pair.record(t, point.sparsity, {**about, "quantity": quantity}, own) for t, quantity, pair in found]


def sweep(
    networks: Mapping[str, Callable[[], Bench]],
    methods: Mapping[str, Recipe],
    sparsities: Sequence[float],
    seeds: Sequence[int] = (0,),
    path: Path | None = None,
    device: str = "cpu",
    confidence: float = 0.95,
    rank: int = 0,
    ranks: int = 1,
) -> Iterator[tuple[Point, list[Record]]]:
    """Every point with its records, appended to `path` as they come; what the file has already is not done again.

    Recipes that draw nothing are pruned for the first seed only. Rank r of R does every R-th of the points.
    """
    every = [Point(n, m, s, seed) for n in networks for m in methods for s in sparsities for seed in seeds]
    every = [p for p in every if methods[p.method].score == "random" or p.seed == seeds[0]]
    done: dict[str, list[Record]] = {}
    for record in records.resume(path) if path is not None else ():
        done.setdefault(record.setting["point"], []).append(record)
    provenance, benches = Provenance(seeds[0], device), {}
    for point in every[rank::ranks]:
        if point.key in done:
            yield point, done[point.key]
            continue
        if point.network not in benches:
            benches = {point.network: networks[point.network]()}
        new = measured(benches[point.network], point, methods[point.method], provenance, confidence)
        if path is not None:
            records.append(path, new)
        yield point, new


@dataclass(frozen=True, eq=False, repr=False)
class Verification:
    """Bounds beside measurements, one record each."""

    records: list[Record]

    @property
    def violations(self) -> int:
        """How many bounds were violated; anything but 0 is a bug of the first rank."""
        return records.violations(self.records)

    def summary(self) -> str:
        """How many networks, how many bounds, how many violated."""
        networks = len({record.setting["point"] for record in self.records})
        return f"{networks} pruned networks, {len(self.records)} bounds, {self.violations} violated."

    def to_pandas(self) -> "pd.DataFrame":
        """One row per record, what it says of its setting in columns of their own."""
        import pandas as pd

        rows = ({**asdict(r), **{k: v for k, v in r.setting.items() if k != "recipe"}} for r in self.records)
        return pd.DataFrame([{k: v for k, v in row.items() if k not in ("setting", "versions")} for row in rows])

    def to_json(self) -> str:
        """JSON lines."""
        return "".join(record.to_json() + "\n" for record in self.records)

    def plot(self, ax: Any = None, methods: Sequence[str] = ()) -> Any:
        """Accuracy over sparsity, by method: of all, at most seven, or of those that are named."""
        from matplotlib import pyplot

        from . import plot

        axes = pyplot.subplots(layout="constrained")[1] if ax is None else ax
        return plot.accuracy_by_method(self.records, "G", axes, methods)

    def __repr__(self) -> str:
        return f"Verification({self.summary()})"


def verify(
    model: nn.Module,
    data: Data,
    sparsities: Sequence[float] = (0.5, 0.7, 0.8, 0.9),
    methods: Mapping[str, Recipe] | None = None,
    calibration: Inputs | None = None,
    name: str | None = None,
    tiers: Sequence[str] = TIERS,
    inputs: int | None = None,
    **options: Any,
) -> Verification:
    """Prune `model` by each method at each sparsity, evaluate it on `data`, and set the applicable bounds beside it.

    The model is left alone. `tiers` and `inputs` are those of `Bench`, the options those of `sweep`: seeds, path,
    device, confidence.
    """
    label = name or type(model).__name__
    device = str(options.get("device", "cpu"))
    benches = {label: lambda: Bench(model, data, calibration, device, tiers, inputs)}
    found = sweep(benches, methods or {"magnitude": Recipe(fit=None)}, sparsities, **options)
    return Verification([record for _, point in found for record in point])
