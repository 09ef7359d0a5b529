"""One network, three drawings for a paper.

The network that ships with the package. Left: the weights of its first layer; most are so small that they spread
over all decades, far to the left of the hump that random weights would have. Middle: the share of the weights that
count, by layer and q. Right: how much of each layer must stay for an error of 1, 10 and 50 per cent.
"""

from importlib.resources import as_file, files

import lqtheory as lq
from lqtheory import plot
from lqtheory.outline import outline

with as_file(files("lqtheory") / "data" / "demo.safetensors") as path:
    network = lq.analyze(path)
drawn = {each.tensor.name: outline(each.measure.profile) for each in network.tensors}
shares = {
    name: {q: layer["effective_share"][q] for q in ("0", "0.2", "0.4", "0.6", "0.8", "1")}
    for name, layer in drawn.items()
}
needed = {
    each.tensor.name: {eps: k / each.measure.parameters for eps, k in each.measure.indices["weights_needed"].items()}
    for each in network.tensors
}

with plot.publication():
    figure = plot.figure("double", ratio=0.4)
    left, middle, right = figure.subplots(1, 3)
    plot.histogram(drawn["0.weight"], left)
    plot.heat_map(shares, middle, "share that counts")
    plot.budget(needed, right)
