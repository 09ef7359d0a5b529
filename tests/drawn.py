"""Random convolutional and residual networks, what prunes them, and inputs: drawn from a seed."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch

from lqtheory.bounds.graph import Graph, Node
from lqtheory.bounds.nodes import Affine

F = torch.nn.functional


class Drawn(torch.nn.Module):
    """A convolution, then a residual, a shortcut or a branched block, pooling, and a linear layer."""

    def __init__(self, generator):
        super().__init__()
        pick = generator.integers
        c, wide = 2 * int(pick(1, 3)), 2 * int(pick(1, 3))
        self.kind, self.pool = int(pick(4)), int(pick(4))
        size, groups, dilation, stride = int(pick(0, 2)) * 2 + 1, int(pick(1, 3)), int(pick(1, 3)), int(pick(1, 3))
        self.first = torch.nn.Conv2d(2, c, 3, int(pick(1, 3)), int(pick(2)), bias=bool(pick(2)))
        self.norm = torch.nn.BatchNorm2d(c) if pick(2) else torch.nn.Identity()
        self.left = torch.nn.Conv2d(c, wide, size, 1, dilation * (size - 1) // 2, dilation, groups)
        self.right = torch.nn.Conv2d(wide, c, 3, 1, 1)
        self.down = torch.nn.Conv2d(c, 2 * c, 3, 2, 1, bias=False)
        self.after = torch.nn.BatchNorm2d(2 * c)
        self.one = torch.nn.Conv2d(c, wide, 1, stride)
        self.three = torch.nn.Conv2d(c, 2, 3, stride, 1)
        self.drop = torch.nn.Dropout(0.5)
        self.act = [torch.relu, torch.tanh, torch.sigmoid][int(pick(3))] if pick(3) == 0 else torch.relu
        channels = {0: c, 1: 2 * c, 2: wide + 2, 3: c}[self.kind]
        self.head = torch.nn.Linear(channels, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)))
        if self.kind == 0:
            x = F.relu(x + self.right(self.act(self.left(x))))
        if self.kind == 1:
            c = x.shape[1]
            x = F.relu(F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, c // 2, c // 2)) + self.after(self.down(x)))
        if self.kind == 2:
            x = torch.cat([self.act(self.one(x)), self.three(x)], dim=1)
        x = self.drop(x)
        if self.pool == 0:
            x = F.max_pool2d(x, 2, 1)
        if self.pool == 1:
            x = F.avg_pool2d(x, 2)
        return self.head(F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1) if self.pool else x.mean((2, 3)))


def case(seed):
    """A network, a pruned copy, inputs; weights from tiny to huge."""
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)
    while True:
        dense = _tractable(Drawn(generator).double().eval())
        if dense is not None:
            break
    scale = 10.0 ** generator.choice([0, 0, 0, -3, 3, -100])
    with torch.no_grad():
        for module in dense.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.3, 3)
                module.weight.normal_()
                module.bias.normal_()
            elif isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.weight.copy_(torch.from_numpy(generator.standard_t(3, module.weight.shape)) * scale)
    pruned = deepcopy(dense)
    share = generator.random()
    with torch.no_grad():
        for p in pruned.parameters():
            if p.ndim > 1:
                mask = generator.random(p.shape) >= share
                p.mul_(
                    torch.from_numpy(mask if generator.random() < 0.5 else p.abs().numpy() > p.abs().median().item())
                )
    x = generator.normal(size=(int(generator.integers(2, 5)), 2, 7, 7)) * 10.0 ** generator.choice([0, 0, 2, -100])
    return dense, pruned, torch.from_numpy(x)


def _tractable(network):
    try:
        network(torch.zeros(2, 2, 7, 7, dtype=torch.float64))
    except RuntimeError:  # shapes that do not fit together
        return None
    return network


def errors(dense, pruned, x):
    with torch.no_grad():
        return (dense(x) - pruned(x)).flatten(1).numpy()


def masked(graph, generator):
    """A copy of a graph with random weights of random layers dropped."""
    nodes, share = [], generator.random()
    for node in graph.nodes:
        op = node.op
        if isinstance(op, Affine) and generator.random() < 0.7:
            weight = np.where(generator.random(op.weight.shape) < share, 0.0, op.weight)
            op = replace(op, weight=weight)
        nodes.append(Node(node.name, op, node.inputs))
    return Graph(tuple(nodes))
