"""The one error of reading."""


class CheckpointError(ValueError):
    """The source cannot be read, or not safely; one sentence says which file, which tensor, and why."""
