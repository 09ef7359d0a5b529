"""`org/name[@revision]` on the Hugging Face Hub, and what is an address instead."""

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


def is_remote(source: str) -> bool:
    """Whether a text has the form of an address.

    >>> is_remote("https://example.org/model.safetensors"), is_remote("org/name")
    (True, False)
    """
    return source.startswith(("https://", "http://", "hf://"))


def download(source: str) -> Path:
    """The local folder with the weights of a Hub id, downloaded when it is not in the cache yet."""
    found = _ID.fullmatch(source)
    if found is None:
        raise CheckpointError(f"a Hub id reads org/name or org/name@revision, got {source!r}.")
    folder = _snapshot(source, found["name"], found["revision"], _SAFE)
    if not any(folder.glob("*.safetensors")):
        folder = _snapshot(source, found["name"], found["revision"], _PICKLED)
    return folder


def model_files(source: str) -> dict[str, str]:
    """The files at the top of a model on the Hub, each with the address of what it is now."""
    from huggingface_hub import HfApi, hf_hub_url

    found = _ID.fullmatch(source)
    if found is None:
        raise CheckpointError(f"an address of the Hub reads hf://org/name or hf://org/name@revision, got {source!r}.")
    try:
        about = HfApi().model_info(found["name"], revision=found["revision"])
    except Exception as error:  # as below
        raise CheckpointError(f"the Hub gave no model {source!r}: {in_short(error)}.") from None
    names = [file.rfilename for file in about.siblings or [] if "/" not in file.rfilename]
    return {name: hf_hub_url(found["name"], name, revision=about.sha) for name in names}


def _snapshot(source: str, name: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, ignore_patterns="*/*"))
    except Exception as error:  # its errors, its HTTP client's and the system's have no base in common
        raise CheckpointError(
            f"there is no file or folder {source!r}, and the Hub gave no model of that name: {in_short(error)}."
        ) from None
