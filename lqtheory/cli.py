"""Command line: parse, call, print."""


def main() -> None:
    raise SystemExit("lqtheory: not here yet")
