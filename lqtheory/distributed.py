"""One analysis on several processes: the work split by weights, the parts put together on the first rank.

Started by `torchrun --nproc-per-node=N -m lqtheory analyze ...` or by whatever else sets RANK, WORLD_SIZE and
MASTER_PORT. Each rank measures the tensors that are all its own; what travels, once, at the end, are a few hundred
kilobytes for each tensor. Ranks on one machine meet at a socket, which takes no time; ranks on several machines meet
by torch.distributed (gloo), whose import takes seconds. Nothing but the first rank's output depends on which.
"""

import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from itertools import accumulate, chain, groupby
from multiprocessing.connection import Connection
from operator import itemgetter
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Protocol

from .assembly import Measured, Piece, Plan, ahead, assembled, pieces
from .checkpoint import CheckpointError, WeightTensor
from .scan import Watch, unwatched
from .shelf import Desk, Shelf

TIMEOUT = timedelta(minutes=30)  # between machines
PATIENCE = 60.0  # seconds in which all ranks of one machine must have started


def rank() -> int:
    """The number of this process, 0 when it is alone."""
    return int(os.environ.get("RANK", "0"))


def ranks() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


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


class Link(Protocol):
    """The way to another rank."""

    def send(self, obj: Any, /) -> None: ...
    def recv(self) -> Any: ...


def measured(
    tensors: Sequence[WeightTensor],
    plan: Plan,
    workers: Sequence[str],
    shelf: Shelf,
    watch: Watch = unwatched,
) -> Iterator[Measured | CheckpointError]:
    """The measured tensors of all ranks on rank 0, none on the others; ConnectionError when a rank was lost."""
    me = rank()
    mine = list(share([tensor.parameters for tensor in tensors], me, ranks()))
    with _links(me, ranks()) as links:
        found = ahead(pieces(tensors, mine, plan, workers, watch))
        if me == 0:
            yield from assembled(tensors, chain(found, *(_received(link, shelf) for link in links)), plan, shelf)
            return
        # kept until the first rank, which has work of its own, wants it
        for packet in [shelf.put(each) for each in _condensed(tensors, found, dict(mine), plan)]:
            links[0].send(packet())
        links[0].send(None)
        links[0].recv()  # the first rank has it all


def _condensed(
    tensors: Sequence[WeightTensor], found: Iterable[tuple[int, Piece]], mine: dict[int, range], plan: Plan
) -> Iterator[tuple[int, Piece]]:
    """The same with the pieces of a tensor that is all in this rank's share put together."""
    for k, group in groupby(found, itemgetter(0)):
        if len(mine[k]) == tensors[k].parameters:
            yield from ((k, whole) for whole in assembled(tensors, group, plan, Desk()))
        else:
            yield from group


def _received(link: Link, shelf: Shelf) -> Iterator[tuple[int, Piece]]:
    while (packet := link.recv()) is not None:
        k, piece = packet
        yield k, piece.on(shelf) if isinstance(piece, Measured) else piece
    link.send(None)


@contextmanager
def _links(me: int, ranks: int) -> Iterator[list[Link]]:
    """Links to the other ranks in their order on rank 0, to rank 0 on the others."""
    together = os.environ.get("LOCAL_WORLD_SIZE") == str(ranks) and hasattr(socket, "AF_UNIX")
    try:
        with ExitStack() as stack:
            yield (_at_a_socket if together else _by_torch)(me, ranks, stack)
    except (EOFError, ConnectionError) as error:
        raise ConnectionError(f"another rank of this run was lost: {error or 'it closed its connection'}.") from None
    except TimeoutError:
        raise ConnectionError(f"all ranks must have started within {PATIENCE:g} s, not all of them have.") from None


def _at_a_socket(me: int, ranks: int, stack: ExitStack) -> list[Link]:
    place = _meeting_place()
    if me:
        link = stack.enter_context(_call(place))
        link.send(me)
        return [link]
    place.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(PATIENCE)
        door.bind(str(place))
        stack.callback(place.unlink, missing_ok=True)
        door.listen(ranks)
        links = [stack.enter_context(Connection(door.accept()[0].detach())) for _ in range(ranks - 1)]
    return [link for _, link in sorted((link.recv(), link) for link in links)]


def _meeting_place() -> Path:
    """A socket of this user and this run."""
    run = f"{os.getuid()} {os.environ.get('MASTER_PORT')} {os.environ.get('TORCHELASTIC_RUN_ID')}"
    return Path(gettempdir()) / f"lqtheory-{sha256(run.encode()).hexdigest()[:16]}"


def _call(place: Path) -> Connection:
    """The connection to the first rank, once that is there."""
    deadline = time.monotonic() + PATIENCE
    while True:
        caller = socket.socket(socket.AF_UNIX)
        try:
            caller.connect(str(place))
            return Connection(caller.detach())
        except (FileNotFoundError, ConnectionRefusedError):
            caller.close()
            if time.monotonic() > deadline:
                raise TimeoutError from None
            time.sleep(0.02)


@dataclass(frozen=True)
class _Peer:
    """A rank of torch.distributed."""

    rank: int

    def send(self, obj: Any, /) -> None:
        import torch.distributed as dist

        with _lost_as_connection_error():
            dist.send_object_list([obj], self.rank)

    def recv(self) -> Any:
        import torch.distributed as dist

        box = [None]
        with _lost_as_connection_error():
            dist.recv_object_list(box, self.rank)
        return box[0]


def _by_torch(me: int, ranks: int, stack: ExitStack) -> list[Link]:
    import torch.distributed as dist

    with _lost_as_connection_error():
        dist.init_process_group("gloo", timeout=TIMEOUT)
    stack.callback(dist.destroy_process_group)
    return [_Peer(0)] if me else [_Peer(k) for k in range(1, ranks)]


@contextmanager
def _lost_as_connection_error() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(str(error).splitlines()[0]) from None
