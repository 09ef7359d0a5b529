"""One analysis on several processes: the work split by weights, the parts added up on the first rank.

Started by `torchrun --nproc-per-node=N -m lqtheory analyze ...`. What travels are histograms without their empty bins
and the sums of neurons, a few megabytes however large the model is.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import reduce
from itertools import accumulate

from .checkpoint import CheckpointError, WeightTensor
from .scan import Scan, Watch, scan_or_error, unwatched

TIMEOUT = timedelta(minutes=30)


def started() -> bool:
    """Whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def rank() -> int:
    """The number of this process, 0 when it is alone."""
    return int(os.environ.get("RANK", "0"))


def share(sizes: Sequence[int], rank: int, ranks: int) -> Iterator[tuple[int, range]]:
    """The part of each tensor that a rank scans: consecutive weights, as many as any other rank's.

    >>> list(share([10, 4], 0, 2)), list(share([10, 4], 1, 2))
    ([(0, range(0, 7))], [(0, range(7, 10)), (1, range(0, 4))])
    """
    total = sum(sizes)
    first, last = total * rank // ranks, total * (rank + 1) // ranks
    for k, (size, end) in enumerate(zip(sizes, accumulate(sizes), strict=True)):
        start, stop = max(first - (end - size), 0), min(last - (end - size), size)
        if start < stop:
            yield k, range(start, stop)


def scan_all(
    tensors: Sequence[WeightTensor], exponents: Sequence[float], workers: Sequence[str], watch: Watch = unwatched
) -> list[Scan | CheckpointError] | None:
    """The scans of all tensors, or why one failed, on rank 0; None on the others; ConnectionError without a rank."""
    import torch.distributed as dist

    with _group() as (me, ranks):
        parts = share([tensor.parameters for tensor in tensors], me, ranks)
        mine = [(k, scan_or_error(tensors[k], exponents, part, workers, watch)) for k, part in parts]
        everything: list[list[tuple[int, Scan | CheckpointError]]] | None = (
            [[] for _ in range(ranks)] if me == 0 else None
        )
        dist.gather_object(mine, everything)
    if everything is None:
        return None
    found = [[part for given in everything for k, part in given if k == index] for index in range(len(tensors))]
    return [reduce(_together, parts) for parts in found]


def _together(one: Scan | CheckpointError, other: Scan | CheckpointError) -> Scan | CheckpointError:
    """Both parts of a tensor, or the first error."""
    if isinstance(one, CheckpointError) or isinstance(other, CheckpointError):
        return one if isinstance(one, CheckpointError) else other
    return one + other


@contextmanager
def _group() -> Iterator[tuple[int, int]]:
    """The process group, as (rank, ranks)."""
    import torch.distributed as dist

    dist.init_process_group("gloo", timeout=TIMEOUT)
    try:
        yield dist.get_rank(), dist.get_world_size()
    except RuntimeError as error:
        raise ConnectionError(f"another rank of this run was lost: {str(error).splitlines()[0]}") from None
    finally:
        dist.destroy_process_group()
