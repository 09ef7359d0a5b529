"""Records: what was promised and what was measured, one JSON line each, with where it comes from.

JSON has no infinity: a bound or a tightness without a finite value is written as null and read back as infinity.
"""

import fcntl
import json
import math
import os
import platform
import subprocess
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from .files import replacing


@dataclass(frozen=True)
class Record:
    """One bound beside one measurement; `setting` says what was pruned, how, and which quantity is bounded."""

    tier: str
    source: str
    sparsity: float
    bound: float
    measured: float
    tightness: float
    vacuous: bool
    violated: bool
    setting: dict[str, Any]
    seed: int
    versions: dict[str, str]
    commit: str | None
    device: str

    def to_json(self) -> str:
        """One line of JSON, without its newline."""
        finite = {key: None if value == math.inf else value for key, value in asdict(self).items()}
        return json.dumps(finite, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> "Record":
        """The record of one line; raises ValueError when a key is missing or the line is broken."""
        keys = json.loads(line)
        infinite = {key: math.inf for key in ("bound", "tightness") if keys.get(key, 0) is None}
        try:
            return cls(**{**keys, **infinite})
        except TypeError as error:
            raise ValueError(f"a record must have the keys {', '.join(cls.__match_args__)}, got {line!r}.") from error


def append(path: Path, records: Iterable[Record]) -> None:
    """Add records at the end of a file in one write; what a killed writer left stays its own line.

    Several processes may append to one file.
    """
    lines = b"".join(record.to_json().encode() + b"\n" for record in records)
    with _locked(path) as file:
        if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
            lines = b"\n" + lines
        file.write(lines)
        os.fsync(file.fileno())


def read(path: Path) -> list[Record]:
    """The records of a file. A line cut short by a killed writer is left out with a warning."""
    records, broken = _parsed(path.read_text())
    if broken:
        warnings.warn(f"{path}: left out {broken} broken lines of {broken + len(records)}", stacklevel=2)
    return records


def resume(path: Path) -> list[Record]:
    """The records of the points that are complete; what is left of others is taken out of the file.

    The records of a point agree in `setting["point"]`, and `setting["of"]` says how many there are.
    """
    with _locked(path) as file:
        text = os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode()
        records, broken = _parsed(text)
        there = Counter(record.setting.get("point") for record in records)
        whole = [r for r in records if there[r.setting.get("point")] == r.setting.get("of")]
        if broken or len(whole) < len(records):
            with replacing(path) as draft:
                draft.write_text("".join(record.to_json() + "\n" for record in whole))
    return whole


def _parsed(text: str) -> tuple[list[Record], int]:
    """The records of the lines, and how many lines are broken."""
    records, broken = [], 0
    for line in filter(None, text.splitlines()):
        try:
            records.append(Record.from_json(line))
        except json.JSONDecodeError:
            broken += 1
    return records, broken


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """The file, open for appending, in the hands of one process at a time."""
    while True:
        with path.open("ab+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield file
                return


def violations(records: Iterable[Record]) -> int:
    """How many measurements passed their bound; anything but 0 is a bug of the first rank."""
    return sum(record.violated for record in records)


@cache
def versions() -> dict[str, str]:
    """Versions of what a figure depends on."""
    packages = {name: _version(name) for name in ("lqtheory", "numpy", "scipy", "torch")}
    return {"python": platform.python_version(), **packages}


@cache
def commit() -> str | None:
    """The commit of the checkout that this package runs from, `-dirty` where files differ; None outside of one."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


@dataclass(frozen=True)
class Provenance:
    """Where records come from; the same for all records of a run."""

    seed: int
    device: str = "cpu"
    versions: dict[str, str] = field(default_factory=versions)
    commit: str | None = field(default_factory=commit)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
