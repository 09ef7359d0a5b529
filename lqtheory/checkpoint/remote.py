"""`.safetensors` files behind `https://` and on the Hub (`hf://org/name[@rev]`), read by ranges: nothing is stored.

Each byte is asked for once, when it is needed. A connection that breaks is taken up again where it broke.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import numpy as np
from jaxtyping import UInt

from .errors import CheckpointError, in_short
from .folders import Found, choose, read_shards
from .hub import model_files
from .safetensors_files import checked_header, stored_tensors
from .tensor import Bits, Ranges, Reader, Stored, whole

_ATTEMPTS = 3
_TIMEOUT = 30.0  # seconds without a byte
_TOGETHER = 8  # headers of shards that are fetched at the same time


def read_remote(source: str) -> tuple[Found, dict[str, Any] | None]:
    """The tensors behind an address with notes, and the config.json beside them."""
    url = _weights_on_hub(source) if source.startswith("hf://") else source
    path = urlsplit(url).path
    if path.endswith(".safetensors.index.json"):
        found = read_shards(fetch(url), shown(url), partial(_read_all, url))
    elif path.endswith(".safetensors"):
        found = _read_file(url), []
    else:
        raise CheckpointError(
            f"an address must end in .safetensors or .safetensors.index.json, got {shown(url)}; "
            "other files must be downloaded first."
        )
    return found, _config(urljoin(url, "config.json"))


def shown(url: str) -> str:
    """An address without its query, which may hold a secret."""
    return url.split("?")[0]


def _weights_on_hub(source: str) -> str:
    files = model_files(source.removeprefix("hf://"))
    for ending in (".safetensors.index.json", ".safetensors"):
        if name := choose(sorted(files), ending, source):
            return files[name]
    raise CheckpointError(f"{source} has no .safetensors; `org/name` without hf:// downloads other files.")


def _read_all(index: str, shards: list[str]) -> list[Found]:
    with ThreadPoolExecutor(_TOGETHER) as pool:
        return [(tensors, []) for tensors in pool.map(_read_file, [urljoin(index, shard) for shard in shards])]


def _read_file(url: str) -> list[Stored]:
    file = RangedFile(url)
    length = int.from_bytes(file.read(0, 8), "little")
    if length > file.size - 8:
        raise CheckpointError(f"{file} is not a sound safetensors file: its header of {length} bytes exceeds it.")
    with tempfile.NamedTemporaryFile() as sparse:  # as long as the file, nothing in it but the header
        sparse.write(length.to_bytes(8, "little") + file.read(8, 8 + length))
        sparse.flush()
        sparse.truncate(file.size)
        header = checked_header(Path(sparse.name), str(file))
    return stored_tensors(header, 8 + length, str(file), file.place)


class RangedFile:
    """A file behind an address, of which any part can be had."""

    def __init__(self, url: str) -> None:
        self.url, self.size = url, -1

    def __str__(self) -> str:
        return shown(self.url)

    def place(self, name: str, offset: int, count: int, width: int) -> tuple[Bits, Ranges]:
        """How the tensor is read that begins at `offset`."""
        ranges = partial(_range_reader, self, name, offset, width)
        return partial(whole, ranges, count), ranges

    def read(self, start: int, stop: int, where: str = "") -> bytes:
        """Some bytes; CheckpointError when they cannot be had."""
        content = bytearray()
        for attempt in range(_ATTEMPTS):
            try:
                self._receive(content, start, stop)
                return bytes(content)
            except CheckpointError:
                raise
            except Exception as error:  # those of its HTTP client have no public base
                if attempt == _ATTEMPTS - 1:
                    got = f"after {len(content)} of {stop - start} bytes" if content else "at the first byte"
                    raise CheckpointError(f"{self}{where} cannot be read {got}: {in_short(error)}.") from None
                time.sleep(0.2 * 2**attempt)
        raise AssertionError("unreachable")

    def _receive(self, content: bytearray, start: int, stop: int) -> None:
        """Add what is missing of the bytes from `start` to `stop`."""
        span = f"bytes={start + len(content)}-{stop - 1}"
        with _request(self.url, {"Range": span, "Accept-Encoding": "identity"}) as response:
            if response.status_code == 200:
                raise CheckpointError(f"{self} must be on a server that sends parts of files; download it first.")
            if response.status_code != 206:
                raise CheckpointError(f"{self} cannot be read: the server answers {response.status_code}.")
            size = int(response.headers["Content-Range"].rpartition("/")[2])
            if self.size not in (-1, size):
                raise CheckpointError(f"{self} has changed since its header was read.")
            self.size = size
            for chunk in response.iter_bytes():
                content += chunk
        if len(content) < stop - start:
            raise ConnectionError("the server sent too few bytes")


@contextmanager
def _range_reader(file: RangedFile, name: str, offset: int, width: int) -> Iterator[Reader]:
    def read(start: int, stop: int) -> UInt[np.ndarray, " n"]:
        content = file.read(offset + start * width, offset + stop * width, f" at tensor {name!r}")
        return np.frombuffer(content, f"<u{width}")

    yield read


def fetch(url: str) -> bytes:
    """A small file as a whole."""
    try:
        with _request(url, {}) as response:
            if response.status_code != 200:
                raise CheckpointError(f"{shown(url)} cannot be read: the server answers {response.status_code}.")
            return b"".join(response.iter_bytes())
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{shown(url)} cannot be read: {in_short(error)}.") from None


def _config(url: str) -> dict[str, Any] | None:
    try:
        config = json.loads(fetch(url))
    except (CheckpointError, ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) else None


def _request(url: str, headers: dict[str, str]) -> Any:
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers

    ours = build_hf_headers() if urlsplit(url).hostname == "huggingface.co" else {}
    return get_session().stream("GET", url, headers={**ours, **headers}, timeout=_TIMEOUT)
