"""Small networks and records with names that try to break out of a page, and a parser that finds out."""

from html.parser import HTMLParser

import numpy as np

from lqtheory.records import Record

HOSTILE = '<script>alert("x")</script>&\'"><img src=x onerror=alert(1)>'
VOID = {"meta", "br", "hr", "img", "input", "link", "wbr"}


def network(seed: int = 0, layers: int = 3, power: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    tensors = {f"layer{k}.weight": rng.standard_normal((16, 8 + k)).astype(np.float32) for k in range(layers)}
    tensors = {name: np.sign(x) * np.abs(x) ** power for name, x in tensors.items()}
    return tensors | {"layer0.bias": np.zeros(16, np.float32)}


def record(tier: str, quantity: str, method: str, sparsity: float, bound: float, measured: float) -> Record:
    setting = {"network": "net & co", "data": "ten inputs", "method": method, "quantity": quantity, "trivial": 10.0}
    setting |= {"dense_accuracy": 0.9, "accuracy": 0.9 - sparsity / 10}
    setting |= {"certified_accuracy": max(0.9 - bound, 0.0)} if quantity == "harm" else {}
    violated, vacuous = measured > bound, bound >= 10
    rest = {"seed": 7, "versions": {"lqtheory": "0.0"}, "commit": "abc", "device": "cpu"}
    return Record(tier, "Theorem 1", sparsity, bound, measured, bound / measured, vacuous, violated, setting, **rest)


def records() -> list[Record]:
    return [
        record(tier, quantity, method, sparsity, factor * sparsity, sparsity / 100)
        for method in ("keep rule", HOSTILE)
        for quantity in ("output_error", "harm")
        for sparsity in (0.9, 0.1, 0.5)
        for tier, factor in (("A", 100.0), ("B", 1.0), ("C", 0.02))
    ]


class Page(HTMLParser):
    """The elements of a page as (tag, attributes), its text, and what was left open or closed twice."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())
