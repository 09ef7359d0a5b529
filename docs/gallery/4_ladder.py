"""The ladder of bounds on a network that ships with the package.

A 784-300-100-10 network on Fashion-MNIST, pruned neuron by neuron. Every bound is proved before the pruned network is
ever run; the black line is what running it shows. `lqtheory demo` makes these records; here they are read from the
project's own.
"""

from importlib.util import find_spec
from pathlib import Path

from matplotlib.figure import Figure

from lqtheory import plot, records

root = Path(find_spec("lqtheory").origin).parents[1]
found = records.read(root / "analysis" / "results" / "demo.jsonl")

figure = Figure(figsize=(5, 4), layout="constrained")
axes = plot.bound_against_measurement(found, "keep rule", "output_error", figure.subplots())
axes.set_ylabel("output error")

assert records.violations(found) == 0
