r"""Feature flow regularisation [WLZX23, arXiv 2106.02914]: short and straight paths of features through a network.

The public copies say that the length and the total absolute curvature of the trajectory of features through adjacent
layers are penalised. Norm, normalisation and what happens where the shape changes are not known to us; what is here
is our choice: paths of one shape only, root mean squares, and further choices as functions of their own.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from .parameters import at_least_float32

Trajectories = Sequence[Sequence[torch.Tensor]]


class FeatureFlow:
    """Keeps what named modules give in the last forward pass of `net`, as one trajectory per stage.

    A stage is a list of names of `net.named_modules()` whose outputs have one shape [n, ...]; between stages
    (down-sampling, more channels) the trajectory is broken. The hooks are there inside `with` only; enter it before
    `torch.compile`.

    >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    >>> with FeatureFlow(net, [["0", "1", "2"]]) as flow:
    ...     answers = net(torch.ones(5, 4))
    ...     [x.shape for x in flow.trajectories[0]]
    [torch.Size([5, 4]), torch.Size([5, 4]), torch.Size([5, 4])]
    """

    def __init__(self, net: nn.Module, stages: Sequence[Sequence[str]]) -> None:
        modules = dict(net.named_modules())
        names = Counter(name for stage in stages for name in stage)
        if not stages or min(map(len, stages)) < 2:
            raise ValueError(f"a stage must name at least two modules, got {[list(stage) for stage in stages]}.")
        if unknown := [name for name in names if name not in modules]:
            raise ValueError(f"a stage must name modules of the network, got {unknown[0]!r}.")
        if twice := [name for name, times in names.items() if times > 1]:
            raise ValueError(f"a module must be in one stage once, got {twice[0]!r} twice.")
        self.stages = [list(stage) for stage in stages]
        self._net = net
        self._modules = {name: modules[name] for name in names}
        self._seen: dict[str, list[Any]] = {name: [] for name in names}
        self._hooks: list[Any] = []

    def __enter__(self) -> Self:
        if self._hooks:
            raise ValueError("a FeatureFlow must be entered once at a time, got a second `with`.")
        self._hooks = [self._net.register_forward_pre_hook(self._forget)]
        self._hooks += [module.register_forward_hook(self._keeper(name)) for name, module in self._modules.items()]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._forget()

    @property
    def trajectories(self) -> list[list[torch.Tensor]]:
        """The features of each stage in the last forward pass, in the order of their names."""
        return [check_stage({name: self._feature(name) for name in stage}) for stage in self.stages]

    def _feature(self, name: str) -> torch.Tensor:
        if len(self._seen[name]) != 1:
            raise ValueError(f"a module of a stage must run once per pass, got {len(self._seen[name])} of {name!r}.")
        if not isinstance(self._seen[name][0], torch.Tensor):
            raise ValueError(f"features must be tensors, got {type(self._seen[name][0]).__name__} from {name!r}.")
        return at_least_float32(self._seen[name][0], f"the output of {name!r}")

    def _keeper(self, name: str) -> Callable[..., None]:
        def keep(module: nn.Module, given: Any, output: Any) -> None:
            self._seen[name].append(output)

        return keep

    def _forget(self, *_: Any) -> None:
        for outputs in self._seen.values():
            outputs.clear()


def check_stage(features: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The features when all have one shape [n, ...]."""
    shapes = {name: tuple(x.shape) for name, x in features.items()}
    for (before, shape), (after, other) in pairwise(shapes.items()):
        if shape != other:
            raise ValueError(
                f"features of a stage must have one shape, got {shape} of {before!r}, {other} of {after!r}."
            )
    if (first := next(iter(shapes.items())))[1] == ():
        raise ValueError(f"features must have a batch axis, got a single number from {first[0]!r}.")
    return list(features.values())


@torch.no_grad()
def equal_shape_stages(net: nn.Module, names: Sequence[str], x: torch.Tensor) -> list[list[str]]:
    """`names` cut into stages wherever the shape of the output changes; what stands alone has no path and is left out.

    >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> equal_shape_stages(net, ["0", "1", "2", "3", "4"], torch.ones(1, 4))
    [['0', '1'], ['2', '3']]
    """
    with FeatureFlow(net, [names]) as flow:
        net(x)
        shapes = {name: flow._feature(name).shape for name in names}
    stages = [[names[0]]]
    for before, after in pairwise(names):
        if shapes[before] != shapes[after]:
            stages.append([])
        stages[-1].append(after)
    if not (paths := [stage for stage in stages if len(stage) > 1]):
        raise ValueError(f"two modules in a row must give one shape, got {[tuple(s) for s in shapes.values()]}.")
    return paths


def length(trajectories: Trajectories) -> torch.Tensor:
    r"""$\sum_l E\,|x_{l+1}-x_l|$, Definition 30, with $|x| = \|x\|_2/\sqrt m$ for m numbers, E over the batch.

    >>> length([[torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 3.0]]), torch.tensor([[3.0, 3.0]])]])
    tensor(3.)
    """
    return _sum(trajectories, steps, root_mean_square)


def curvature(trajectories: Trajectories) -> torch.Tensor:
    r"""$\sum_l E\,|x_{l+1}-2x_l+x_{l-1}|$, Definition 31, with the norm of `length`; 0 for two features.

    >>> curvature([[torch.tensor([[0.0]]), torch.tensor([[3.0]]), torch.tensor([[5.0]])]])
    tensor(1.)
    """
    return _sum(trajectories, bends, root_mean_square)


def squared_length(trajectories: Trajectories) -> torch.Tensor:
    r"""$\sum_l E\,|x_{l+1}-x_l|^2$, Definition 30: long steps count more.

    >>> squared_length([[torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 3.0]])]])
    tensor(9.)
    """
    return _sum(trajectories, steps, mean_square)


def squared_curvature(trajectories: Trajectories) -> torch.Tensor:
    r"""$\sum_l E\,|x_{l+1}-2x_l+x_{l-1}|^2$, Definition 31.

    >>> squared_curvature([[torch.tensor([[0.0]]), torch.tensor([[3.0]]), torch.tensor([[4.0]])]])
    tensor(4.)
    """
    return _sum(trajectories, bends, mean_square)


def absolute_length(trajectories: Trajectories) -> torch.Tensor:
    r"""$\sum_l E\,\|x_{l+1}-x_l\|_1/m$, Definition 30: prefers that few features change.

    >>> absolute_length([[torch.tensor([[0.0, 0.0]]), torch.tensor([[4.0, 0.0]])]])
    tensor(2.)
    """
    return _sum(trajectories, steps, mean_magnitude)


def absolute_curvature(trajectories: Trajectories) -> torch.Tensor:
    r"""$\sum_l E\,\|x_{l+1}-2x_l+x_{l-1}\|_1/m$, Definition 31.

    >>> absolute_curvature([[torch.zeros(1, 2), torch.tensor([[4.0, 0.0]]), torch.tensor([[4.0, 0.0]])]])
    tensor(2.)
    """
    return _sum(trajectories, bends, mean_magnitude)


def turning(trajectories: Trajectories) -> torch.Tensor:
    r"""$\sum_l E\,\angle(x_l-x_{l-1},\,x_{l+1}-x_l)$ in radians, Definition 32: what the curvature of a polygon is.

    Unlike second differences it does not shrink when all features do. A step of length 0 counts as a right angle.

    >>> turning([[torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 2.0]])]])
    tensor(1.5708)
    """
    return _sum(trajectories, lambda path: list(pairwise(steps(path))), lambda pair: angle(*pair))


def steps(path: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """First differences along a path."""
    return [after - before for before, after in pairwise(path)]


def bends(path: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Second differences along a path."""
    return steps(steps(path))


def root_mean_square(x: torch.Tensor) -> torch.Tensor:
    r"""$\|x\|_2/\sqrt m$ of each sample of [n, ...], with gradient 0 at 0."""
    rows = x.reshape(len(x), -1)
    return torch.linalg.vector_norm(rows, dim=1) / rows.shape[1] ** 0.5


def mean_square(x: torch.Tensor) -> torch.Tensor:
    r"""$\|x\|_2^2/m$ of each sample."""
    return x.reshape(len(x), -1).square().mean(1)


def mean_magnitude(x: torch.Tensor) -> torch.Tensor:
    r"""$\|x\|_1/m$ of each sample."""
    return x.reshape(len(x), -1).abs().mean(1)


def angle(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    r"""$2\,\mathrm{atan2}(\|\hat a-\hat b\|, \|\hat a+\hat b\|)$ between directions, exact near 0 and $\pi$."""
    a, b = (nn.functional.normalize(x.reshape(len(x), -1), dim=1) for x in (a, b))
    apart, along = (torch.linalg.vector_norm(x, dim=1) for x in (a - b, a + b))
    return 2 * torch.atan2(apart, along.clamp_min(1e-12))


def _sum(
    trajectories: Trajectories, parts: Callable[[Sequence[torch.Tensor]], Iterable[Any]], size: Callable[..., Any]
) -> torch.Tensor:
    """The mean over the batch of the sizes of all parts of all paths."""
    if not trajectories:
        raise ValueError("trajectories must have at least one stage, got none.")
    terms = [size(part).mean() for path in trajectories for part in parts(path)]
    return torch.stack(terms).sum() if terms else trajectories[0][0].new_zeros(())
