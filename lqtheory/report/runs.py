"""What a report is about: checkpoints, measured on the spot, and documents that other commands wrote."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..analysis import SCHEMA as ANALYSIS, Analysis, analyze, to_json
from ..comparison import SCHEMA as COMPARISON, Comparison, compare
from ..measure import QS
from ..outline import FINE, outline
from ..records import Record, read as read_records

BY_KEYS = {
    "certificate": {"sparsity", "drop_sparsity", "rates", "drops", "summary"},
    "recipe": {"method", "sparsity", "tensors", "command"},
}
HASHED = 1 << 32  # larger files are named without their sum


@dataclass(frozen=True)
class Run:
    """One part of a report: `kind` is "analysis", "comparison", "certificate", "recipe" or "records".

    `document` is plain data of that kind.
    """

    kind: str
    source: str
    document: Any
    files: tuple[str, ...]


def read_runs(
    sources: Sequence[Any], qs: Sequence[float] = QS, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> list[Run]:
    """A run for each source, in their order; two or more checkpoints are also compared, ahead of everything else.

    A source is `.jsonl` with records, `.json` of `analyze`, `compare`, `certify` or `prune`, or what `analyze` takes.
    """
    runs: list[Run] = []
    measured: list[Analysis] = []
    for source in sources:
        match Path(source).suffix if isinstance(source, str | Path) else "":
            case ".jsonl":
                runs.append(_records(Path(source)))
            case ".json":
                runs.append(_document(Path(source)))
            case _:
                found = source if isinstance(source, Analysis) else analyze(source, qs, include, exclude)
                measured.append(found)
                runs.append(of_analysis(found))
    compared = [of_comparison(compare(*measured, qs=qs))] if len(measured) > 1 else []
    return compared + runs


def of_analysis(found: Analysis) -> Run:
    """A measured network, with outlines of its profiles to draw."""
    document = found.to_dict()
    for row, each in zip(document["tensors"], found.tensors, strict=True):
        row["outline"] = outline(each.measure.profile) if each.measure.profile else {}
    document["network"]["outline"] = outline(found.network.profile, FINE) if found.network.profile else {}
    files = {each.tensor.file for each in found.tensors if each.tensor.file}
    return Run("analysis", document["source"], _plain(document), tuple(sorted(files)))


def of_comparison(found: Comparison) -> Run:
    """Compared networks, with outlines of their profiles."""
    document = found.to_dict()
    for label, network in found.networks.items():
        profile = network.network.profile
        document["networks"][label]["outline"] = outline(profile, FINE) if profile else {}
    source = " and ".join(network.checkpoint.source for network in found.networks.values())
    return Run("comparison", source, _plain(document), ())


def _plain(document: Any) -> Any:
    """As it would be read from a file: null where a number is not defined."""
    return json.loads(to_json(document, indent=None))


def _document(path: Path) -> Run:
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}.") from None
    keys = document if isinstance(document, dict) else {}
    kind = {ANALYSIS: "analysis", COMPARISON: "comparison"}.get(str(keys.get("schema")))
    kind = kind or next((name for name, needed in BY_KEYS.items() if needed <= keys.keys()), None)
    if kind is None:
        got = repr(keys.get("schema"))
        known = f"{ANALYSIS!r} or {COMPARISON!r}, or be of certify or prune"
        raise ValueError(f"{path} must have the schema {known}, got {got}.")
    return Run(kind, str(path), document, (str(path),))


def _records(path: Path) -> Run:
    found: list[Record] = read_records(path)
    if not found:
        raise ValueError(f"{path} must hold records of verify or demo, one a line, got none.")
    return Run("records", str(path), found, (str(path),))


def fingerprints(paths: Iterable[str]) -> list[dict[str, Any]]:
    """Name, size and SHA-256 of each file, by which a reader knows that it is the same one."""
    rows = []
    for path in map(Path, paths):
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest() if size <= HASHED else "not taken: over 4 GiB"
        rows.append({"name": str(path), "bytes": size, "sha256": digest})
    return rows
