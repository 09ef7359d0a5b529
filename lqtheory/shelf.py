"""Results that wait in a temporary file until they are asked for: what is kept of a large model takes no memory."""

import pickle
from tempfile import SpooledTemporaryFile
from threading import Lock
from typing import Any, Generic, TypeVar
from weakref import finalize

IN_MEMORY = 1 << 24  # bytes; what is kept of a small model never touches the disk

T = TypeVar("T")


class Held(Generic[T]):
    """A result in memory, handed out by a call like one on a shelf.

    >>> Held("profile")()
    'profile'
    """

    def __init__(self, value: T) -> None:
        self.value = value

    def __call__(self) -> T:
        return self.value


class Shelved(Generic[T]):
    """A result on a shelf, read by a call; a copy that is sent to another process takes its content along."""

    def __init__(self, shelf: "Shelf", start: int, size: int) -> None:
        self.shelf, self.start, self.size = shelf, start, size

    def __call__(self) -> T:
        return pickle.loads(self.shelf.read(self.start, self.size))  # of our own anonymous file

    def __reduce__(self) -> tuple[Any, ...]:
        return Held, (self(),)


class Shelf:
    """An anonymous temporary file, gone with the last result on it.

    >>> Shelf().put([1, 2])()
    [1, 2]
    """

    def __init__(self) -> None:
        self._file, self._lock = SpooledTemporaryFile(IN_MEMORY), Lock()  # noqa: SIM115 - closed in the end
        finalize(self, self._file.close)

    def put(self, value: T) -> "Held[T] | Shelved[T]":
        """Keep a value, as it is now."""
        content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        with self._lock:
            start = self._file.seek(0, 2)
            self._file.write(content)
        return Shelved(self, start, len(content))

    def read(self, start: int, size: int) -> bytes:
        """Some bytes of the file."""
        with self._lock:
            self._file.seek(start)
            return self._file.read(size)


class Desk(Shelf):
    """A shelf for what is wanted again at once: it stays in memory."""

    def put(self, value: T) -> Held[T]:
        """Keep a value."""
        return Held(value)
