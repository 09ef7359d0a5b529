"""Write the tables of the documentation again from the records under analysis/results, each under its own heading row.

`make figures` does it with the figures; a test compares, and looks for the sentences of FACTS, whose numbers also come
from records. What is asked of a record is in the functions below, what is only chosen and rounded in `series.py`.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median

import prune_tables
import series
import zoo_tables

from lqtheory import Profile, effective_number, records
from lqtheory.demo import DATA

DOCS = Path(__file__).resolve().parents[1] / "docs"
Rows = list[list[str]]


def of(name: str) -> list[records.Record]:
    """The records of one file."""
    return records.read(series.RESULTS / name)


def cells(row: Mapping[str, float], keys: Iterable[str], form: str) -> list[str]:
    """The numbers of a row, a dash where there is none."""
    return [format(row[key], form) if key in row else "-" for key in keys]


def how_far_from_the_truth() -> Rows:
    tiers, found = ("A", "B", "C", "C weighted", "D", "H"), series.by_network(of("train_certified.jsonl"))
    order = ("wanda by neuron", "magnitude by neuron", "keep rule", "magnitude by network")
    rows = [["network", "test accuracy", "pruned by", *tiers]]
    for network in dict.fromkeys(r.setting["network"] for r in found):
        mine = series.medians(series.tightness(series.where(found, network=network), "method"))
        accuracy = series.where(found, network=network, quantity="output_error")[0].setting["dense_accuracy"]
        rows += [[network, f"{accuracy:.1%}", method, *cells(mine[method], tiers, ".3g")] for method in order]
    return rows


def sparsities_by_one_error() -> Rows:
    tiers = ("B", "C", "C weighted", "D", "D uniform", "F", "measured")
    found = series.certified(series.by_network(of("train_certified.jsonl")), "one error for every neuron")
    return [["network", *tiers], *([network, *cells(row, tiers, ".1%")] for network, row in found.items())]


def sparsities_by_one_threshold() -> Rows:
    tiers, found = ("B", "C", "C weighted", "D", "D uniform", "F", "measured"), of("train_certified.jsonl")
    sample = series.certified(series.by_network(found), "magnitude by network")
    population = {r.setting["network"]: r for r in series.where(found, quantity="sparsity at harm") if r.tier == "G"}
    rows = [["network", *tiers, "G, the other 8,000 images", "measured there", "by net drop"]]
    for network, row in sample.items():
        g = population[network]
        others = (g.bound, g.measured, g.setting["largest_by_drop"])
        rows.append([network, *cells(row, tiers, ".1%"), *(f"{value:.1%}" for value in others)])
    return rows


def regions() -> Rows:
    rows = [["pruned by", "radius", "certified", "not refuted"]]
    for r in sorted(series.where(of("train_certified.jsonl"), quantity="agreement"), key=lambda r: r.setting["radius"]):
        radius = f"{round(255 * r.setting['radius'])}/255"
        rows.append([r.setting["method"], radius, f"{r.bound:.0%}", f"{r.measured:.0%}"])
    return rows


def resnet20() -> Rows:
    found = series.ideas(of("resnet_bound.jsonl"))
    shares = ("2%", "10%", "30%", "50%")
    return [["", *shares], *([idea, *(power(row[share]) for share in shares)] for idea, row in found.items())]


def power(value: float) -> str:
    """Two digits and a power of ten."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} x 10^{int(exponent)}"


KERNELS = {
    "plain copy (numpy)": "plain copy (NumPy)",
    "network profile: every q, every s": "network profile: every q, every s",
    "profile and neuron sums for 16 q": "profile and the sums of every neuron for 16 exponents",
    "the same on one thread": "the same on one thread",
    "torch.linalg.vector_norm, 16 q in a loop": "`torch.linalg.vector_norm` for 16 exponents in a loop",
    "PQ index formula, 16 p in a loop": "PQ index formula for 16 exponents in a loop",
}


def kernels() -> Rows:
    found = series.costs(series.lines(series.RESULTS / "engine.jsonl"))
    rows = [["one matrix of 67 million weights", "bfloat16, ns per weight", "float32, ns per weight"]]
    return rows + [[label, *cells(found[what], ("bfloat16", "float32"), ".2g")] for what, label in KERNELS.items()]


def processes() -> Rows:
    rows = [["`lqtheory analyze` of bfloat16 shards, whole processes", "seconds", "ns per weight", "peak memory"]]
    for row in series.lines(series.RESULTS / "engine.jsonl"):
        if row["part"] in ("process", "ranks"):
            what = "" if row["part"] == "process" else f", {row['what']}"
            memory = f"{row['peak_mb']} MB" if row["peak_mb"] else "-"
            rows.append([f"{row['weights'] / 1e6:,.0f} million{what}", f"{row['seconds']:.2f}", ns(row), memory])
    return rows


def transformer() -> Rows:
    rows = [["MiniLM, 22.7 million float32 weights", "seconds", "ns per weight"]]
    found = (row for row in series.lines(series.RESULTS / "engine.jsonl") if row["part"] == "MiniLM")
    return rows + [[row["what"], f"{row['seconds']:.2f}", ns(row)] for row in found]


def requests() -> Rows:
    rows = [["on request, 17 million bfloat16 weights", "ns per weight"]]
    found = (row for row in series.lines(series.RESULTS / "engine.jsonl") if row["part"] == "request")
    return rows + [[f"`{row['what']}`", ns(row)] for row in sorted(found, key=lambda row: row["seconds"])]


def ns(row: Mapping[str, float]) -> str:
    return format(row["ns_per_weight"], ".3g")


SHARES = (0.5, 0.6, 0.7, 0.8, 0.9)
UNIFORM = {
    "SparseGPT": "SparseGPT, the same density in every layer",
    "Wanda": "Wanda, the same density in every neuron",
}


def pruned_resnet20() -> Rows:
    return resnet("ResNet-20")


def pruned_resnet56() -> Rows:
    return resnet("ResNet-56")


def resnet(network: str) -> Rows:
    """Accuracy relative to the dense network's, the method first that keeps most of it at 80 %."""
    found = series.where(of("prune_resnet.jsonl"), network=network)
    kept: dict[str, dict[float, float]] = {}
    for r in found:
        relative = r.setting["accuracy"] / r.setting["dense_accuracy"]
        kept.setdefault(r.setting["method"], {})[r.sparsity] = relative
    dense = spaced(found[0].setting["dense_accuracy"])
    rows = [[f"{network} (dense {dense})", *(spaced(share, 0) for share in SHARES)]]
    for method, row in sorted(kept.items(), key=lambda each: -each[1].get(0.8, 0.0)):
        rows.append([UNIFORM.get(method, method), *(spaced(row[share]) if share in row else "" for share in SHARES)])
    return rows


def pruned_mlps() -> Rows:
    found, shares = of("prune_mlps.jsonl"), (0.5, 0.7, 0.8, 0.9)
    rows = [["", *(spaced(share, 0) for share in shares)]]
    for network in dict.fromkeys(r.setting["network"] for r in found):
        mine = series.where(found, network=network)
        dense = f"{network} (dense {spaced(mine[0].setting['dense_accuracy'])}), "
        for k, method in enumerate(dict.fromkeys(r.setting["method"] for r in mine)):
            at = {r.sparsity: spaced(r.setting["accuracy"]) for r in series.where(mine, method=method)}
            rows.append([(dense if k == 0 else "") + method, *(at.get(share, "") for share in shares)])
    return rows


def pruned_pairs() -> Rows:
    """Accuracy of the dense twin, of its authors' pruned network and of ours with as many weights."""
    found = of("prune_pairs.jsonl")
    networks = list(dict.fromkeys(r.setting["network"] for r in found))
    rows = {"dense": {r.setting["network"]: r.setting["dense_accuracy"] for r in found}}
    for r in found:
        rows.setdefault(r.setting["method"], {})[r.setting["network"]] = r.setting["accuracy"]
    body = [[method, *(spaced(row[n]) if n in row else "" for n in networks)] for method, row in rows.items()]
    return [["", *networks], *body]


def spaced(share: float, digits: int = 2) -> str:
    """A share in percent."""
    return f"{share:.{digits}%}".replace("%", " %")


TABLES: Mapping[str, tuple[Callable[[], Rows], ...]] = {
    "experiments_bounds.md": (
        how_far_from_the_truth,
        sparsities_by_one_threshold,
        sparsities_by_one_error,
        regions,
    ),
    "experiments_resnet.md": (resnet20,),
    "experiments_engine.md": (kernels, processes, transformer, requests),
    "experiments_pruning.md": (pruned_resnet20, pruned_resnet56, pruned_mlps, pruned_pairs, *prune_tables.TABLES),
    "experiments_zoo.md": zoo_tables.TABLES,
}


def markdown(rows: Rows) -> str:
    """A table as it stands on a page."""
    head, *body = (re.sub(r"\|  (?=\|)", "| ", f"| {' | '.join(row)} |") for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body]) + "\n"


def rewritten(text: str, table: str) -> str:
    """The text with this table in the place of the one that has its heading row; ValueError without one."""
    head = table.partition("\n")[0]
    old = re.search(rf"^{re.escape(head)}\n(\|.*\n)+", text, flags=re.MULTILINE)
    if old is None:
        raise ValueError(f"a page must have a table with the headings {head!r}.")
    return text[: old.start()] + table + text[old.end() :]


def main() -> None:
    for name, tables in TABLES.items():
        text = (DOCS / name).read_text()
        for rows in tables:
            text = rewritten(text, markdown(rows()))
        (DOCS / name).write_text(text)


def facts() -> list[tuple[str, str]]:
    """Sentences of a page whose numbers come from records."""
    demo, certified, resnet = of("demo.jsonl"), of("train_certified.jsonl"), series.ideas(of("resnet_bound.jsonl"))
    by_neuron = series.tightness(series.where(certified, method="magnitude by neuron"), "network")
    plain = median(by_neuron["two hidden layers, plain"]["C"])
    layered = series.medians(by_neuron)
    trained = max(row["C"] for name, row in layered.items() if "plain" not in name)
    tier_c = median(resnet["norms layer by layer (tier C)"].values())
    noise = Profile.gaussian(1_000_000)
    counts = f"{effective_number(noise, 0.5, 1) / noise.d:.0%}".replace("%", " %")
    small, large, residual = series.lines(series.RESULTS / "verify_overhead.jsonl")
    real, random = (series.lines(series.RESULTS / f"{name}.jsonl") for name in ("violations", "graph_violations"))
    numbers, networks = sum(line["checked"] for line in real), len({line["network"] for line in real})
    pairs, promises = (sum(line[name] for line in random) for name in ("pairs", "promises"))
    weights, images = {r.setting["weights"] for r in demo}, re.findall(r"[\d,]+ (?=held-out)", DATA)[0]
    zoo = [("experiments_zoo.md", sentence) for sentence in zoo_tables.facts()]
    return [
        *zoo,
        ("faq.md", f"My network has N/d = {counts}"),
        ("which-index.md", f"is N/d = {counts} compressible?"),
        ("faq.md", f"about 10^{round(math.log10(tier_c))} times the truth for a ResNet-20"),
        ("quickstart.md", f"runs every pruned network on {images}images"),
        ("ladder.md", f"on {small['inputs']:,} MNIST images"),
        ("ladder.md", f"takes {small['ratio']:.2f} times as long and an MLP"),
        ("ladder.md", f"takes {large['ratio']:.2f} times, of which {small['floor']:.2f} and {large['floor']:.2f} are"),
        ("ladder.md", f"A ResNet-20 on {residual['inputs']:,} CIFAR-10 images takes {residual['ratio']:.2f} times as"),
        ("experiments.md", f"cost {weights.pop():,} weights"),
        ("experiments_bounds.md", f"{len(real)} pruned networks from {networks} dense ones, {numbers:,} numbers"),
        ("experiments_bounds.md", f"{pairs:,} random pairs of networks and {promises:,} promises"),
        ("experiments_bounds.md", f"Tier C is within {-(-trained * 10 // 1) / 10:.1f} times the truth"),
        ("experiments_bounds.md", f"of the plainly trained network it is {'ten' if 9.5 < plain < 14 else plain} times"),
    ]


if __name__ == "__main__":
    main()
