"""What a measured network comes to, in a few sentences; and the figures that they quote."""

from pathlib import PurePath
from typing import Any

from .svg import percent

Row = dict[str, Any]


def short_name(source: str) -> str:
    """The last parts of a path; other sources as they are.

    >>> short_name("/data/models/mini/model"), short_name("org/name@main"), short_name("a/net.pt")
    ('mini/model', 'org/name@main', 'net.pt')
    """
    path = PurePath(source)
    return path.name if path.suffix and "@" not in source else "/".join(path.parts[-2:])


def middle_q(document: Row) -> str:
    """The exponent that tables show when there is room for one."""
    return f"{document['qs'][len(document['qs']) // 2]:g}"


def effective_share(row: Row, q: str, table: str = "indices") -> float | None:
    """N_{q,1}/d of a tensor or network: of its weights, or (`null`) of as many Gaussian ones."""
    number = row[table].get("effective_number", {}).get(q)
    return None if number is None else number / (row["parameters"] - row["nonfinite"])


def words(document: Row) -> list[str]:
    """The answer, in a few sentences."""
    coverage, network, q = document["coverage"], document["network"], middle_q(document)
    covered = percent(coverage["analysed"] / coverage["parameters"]) if coverage["parameters"] else "none"
    said = [
        f"{coverage['analysed']:,} of {coverage['parameters']:,} parameters ({covered}) are analysed, in "
        f"{_count(len(document['tensors']), 'tensor')}; the ledger below says what became of the rest."
    ]
    ours, noise = effective_share(network, q), effective_share(network, q, "null")
    if ours is None or noise is None:
        return [*said, "None of the analysed weights is finite and other than zero, so there is nothing to measure."]
    verdict = (
        "more compressible than"
        if ours < noise * 0.98
        else "about as compressible as"
        if ours < noise * 1.02
        else "less compressible than"
    )
    said.append(
        f"The network counts as {percent(ours)} of its weights (effective number, q = {q}); Gaussian noise of its size "
        f"counts as {percent(noise)}. It is {verdict} noise."
    )
    return said + _words_on_tensors(document, q) + _words_on_budget(network) + _words_on_flags(document)


def _words_on_tensors(document: Row, q: str) -> list[str]:
    pairs = [(effective_share(row, q), effective_share(row, q, "null"), row) for row in document["tensors"]]
    known = sorted(((ours / noise, row) for ours, noise, row in pairs if ours and noise), key=lambda pair: pair[0])
    if len(known) < 2:
        return []
    below = sum(ratio < 1 for ratio, _ in known)
    (_, best), (_, worst) = known[0], known[-1]
    every = "Every tensor is" if below == len(known) else f"{below} of {len(known)} tensors are"
    return [
        f"{every} more compressible than Gaussian weights of its shape. Relative to them, the most compressible is "
        f"{best['name']} (it counts as {percent(effective_share(best, q) or 0)}), the least {worst['name']} "
        f"({percent(effective_share(worst, q) or 0)})."
    ]


def _words_on_budget(network: Row) -> list[str]:
    needed, d = network["indices"].get("weights_needed", {}).get("0.1"), network["parameters"] - network["nonfinite"]
    if needed is None:
        return []
    return [
        f"Its largest {percent(needed / d)} of weights hold all but 10 % of the Euclidean norm: this is about weights; "
        "what a network answers without the rest is what lqtheory verify measures."
    ]


def _words_on_flags(document: Row) -> list[str]:
    flagged = [row["name"] for row in document["tensors"] if row["flags"]]
    return (
        [f"{_count(len(flagged), 'tensor')} to look at: {', '.join(flagged[:5])}{', …' if len(flagged) > 5 else ''}."]
        if flagged
        else []
    )


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
