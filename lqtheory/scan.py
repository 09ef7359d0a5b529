"""One pass over a stored tensor, in chunks: the histogram of all its weights and the power sums of each neuron."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from threading import Lock

from .checkpoint import WeightTensor
from .tally import Scan, tally

CHUNK = 1 << 21  # weights at a time: what is read stays in cache for the second look
ROWS, WEIGHTS = 1 << 18, 1 << 26  # of a tensor at a time: what is known of them is then put aside

Watch = Callable[[int], None]


def cpu_workers() -> list[str]:
    """One worker for each core that this process may use."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return ["cpu"] * max(len(os.sched_getaffinity(0)) // ranks if hasattr(os, "sched_getaffinity") else 1, 1)


def unwatched(weights: int) -> None:
    """The default of `watch`: nobody looks."""


def scan(
    tensor: WeightTensor,
    exponents: Sequence[float],
    part: range | None = None,
    workers: Sequence[str] = ("cpu",),
    watch: Watch = unwatched,
) -> Scan:
    """Scan a tensor, or the flat `part` of it, on some workers: one thread for each "cpu" or torch device.

    NaN and Inf are counted in the histograms and left out of the sums. `watch` is told the weights done.
    """
    exponents = tuple(sorted(set(map(float, exponents))))
    part = range(tensor.parameters) if part is None else part
    starts, lock = iter(range(part.start, part.stop, CHUNK)), Lock()

    def work(device: str) -> Scan:
        seen = tally(tensor.dtype, tensor.layout, exponents, device)
        with tensor.reader() as read:
            while (start := _next(starts, lock)) is not None:
                bits = read(start, min(start + CHUNK, part.stop))
                seen.add(bits, start)
                watch(bits.size)
        return seen.result()

    workers = workers[: max(-(-len(part) // CHUNK), 1)]
    if len(workers) == 1:
        return work(workers[0])
    with ThreadPoolExecutor(len(workers)) as pool:
        return reduce(Scan.__add__, pool.map(work, workers))


def scan_blocks(
    tensor: WeightTensor,
    exponents: Sequence[float],
    part: range,
    workers: Sequence[str] = ("cpu",),
    watch: Watch = unwatched,
) -> Iterator[tuple[int, Scan]]:
    """`scan` of some rows of a tensor after the other, each with the number of the first row.

    Memory then depends neither on the number of rows nor, where rows lie one after the other, on the tensor. Scans
    of the same rows follow one another and add up.
    """
    row = 0
    for first, block in tensor.blocks(ROWS, WEIGHTS):
        start, stop = max(part.start - first, 0), min(part.stop - first, block.parameters)
        for at in range(start, stop, WEIGHTS):
            yield row, scan(block, exponents, range(at, min(at + WEIGHTS, stop)), workers, watch)
        row += block.layout.rows


def _next(starts: Iterator[int], lock: Lock) -> int | None:
    with lock:
        return next(starts, None)
