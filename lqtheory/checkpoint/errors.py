"""The one error of reading."""

from textwrap import shorten


class CheckpointError(ValueError):
    """The source cannot be read, or not safely; one sentence says which file, which tensor, and why."""


def in_short(error: BaseException) -> str:
    """What an error of a library says, as the end of a sentence of ours.

    >>> in_short(OSError("Disk is full. Try again.\\nOr do not."))
    'Disk is full'
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return shorten(lines[0].split(". ")[0], 160, placeholder=" …").rstrip(". ")
