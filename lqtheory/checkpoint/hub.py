"""`org/name[@revision]` on the Hugging Face Hub."""

import re
from pathlib import Path

from .errors import CheckpointError, in_short

_ID = re.compile(r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?", re.ASCII)
_SAFE = ["*.safetensors", "*.safetensors.index.json", "config.json"]
_PICKLED = ["*.bin", "*.bin.index.json", "*.pt", "*.pth", "config.json"]


def is_hub_id(source: str) -> bool:
    """Whether a text has the form of a Hub id.

    >>> is_hub_id("org/name@main"), is_hub_id("../weights"), is_hub_id("model.safetensors")
    (True, False, False)
    """
    return _ID.fullmatch(source) is not None


def download(source: str) -> Path:
    """The local folder with the weights of a Hub id, downloaded when it is not in the cache yet."""
    found = _ID.fullmatch(source)
    if found is None:
        raise CheckpointError(f"a Hub id reads org/name or org/name@revision, got {source!r}.")
    folder = _snapshot(source, found["name"], found["revision"], _SAFE)
    if not any(folder.glob("*.safetensors")):
        folder = _snapshot(source, found["name"], found["revision"], _PICKLED)
    return folder


def _snapshot(source: str, name: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, ignore_patterns="*/*"))
    except Exception as error:  # its errors, its HTTP client's and the system's have no base in common
        raise CheckpointError(
            f"there is no file or folder {source!r}, and the Hub gave no model of that name: {in_short(error)}."
        ) from None
