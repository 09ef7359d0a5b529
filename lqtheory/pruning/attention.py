"""Attention whose heads are known: which rows and columns are a head's, and how many heads a module believes it has.

Known are modules of Hugging Face that project with `q_proj`, `k_proj`, `v_proj` and `o_proj` (Llama and its many
relatives), with `query`, `key` and `value` beside `output.dense` (BERT and its relatives), or with `c_attn` and
`c_proj` (GPT-2); and `nn.MultiheadAttention`, whose code counts its heads, so that they can be zeroed but not removed.
Any other module keeps its heads. Queries that share a key and a value are one head.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from .channels import tied
from .coupling import Axis, Channels, Coupling

FAMILIES = (
    (("q_proj", "k_proj", "v_proj"), "o_proj", nn.Linear, 1),
    (("query", "key", "value"), "output.dense", nn.Linear, 1),
    (("c_attn",), "c_proj", "Conv1D", 3),
)
"""Projections to queries, keys and values, the projection back, the kind of layer, how many of the three one makes."""


@dataclass(frozen=True, eq=False)
class Attention:
    """A module with `heads` heads, each of which has its share of the axes `of`, one after another.

    An axis of `of` has all heads so many times over; `reads` is where the projection back reads them, `queries` how
    many places they have there. The heads of a `fixed` module can be zeroed but not removed.
    """

    module: Any
    heads: int
    queries: int
    of: Mapping[Axis, int]
    reads: Axis
    fixed: bool = False

    def tell(self) -> None:
        """Correct what the module says of its own heads."""
        said = {"num_key_value_heads": self.heads, "split_size": self.queries, "all_head_size": self.queries}
        said |= dict.fromkeys(("num_heads", "num_attention_heads"), self.queries // head_size(self.module))
        for name, value in said.items():
            if hasattr(self.module, name):
                setattr(self.module, name, value)


def heads(model: nn.Module, among: Sequence[str] | None = None) -> Channels:
    """The heads of a module as channels: one label each, with all rows and columns that go with it.

    With `among` only where all weight matrices of the attention have these names. ValueError where no attention is
    known.
    """
    coupling, tensors = Coupling(), {**dict(model.named_parameters(remove_duplicate=False))}
    found = list(attentions(model))
    if not found:
        raise ValueError(
            f"a network must have attention whose heads are known to have them pruned, got none in "
            f"{type(model).__name__}{_suspects(model)}."
        )
    for each in found:
        matrices = {name for name, _ in [*each.of, each.reads] if tensors[name].ndim > 1}
        if among is not None and not matrices <= set(among):
            continue
        labels = coupling.fresh(each.heads)
        for (name, axis), times in {**each.of, each.reads: 1}.items():
            width = tensors[name].shape[axis] // (times * each.heads)
            coupling.at(name, axis, np.tile(np.repeat(labels, width), times))
        coupling.reads.add(each.reads)
        coupling.rigid += labels.tolist() if each.fixed else []
    return coupling.channels(tied(model))


def attentions(model: nn.Module) -> Iterator[Attention]:
    """Every module of a kind that is known."""
    modules = dict(model.named_modules())
    for name, module in modules.items():
        if isinstance(module, nn.MultiheadAttention):
            yield from _multihead(name, module)
        for entering, back, kind, times in FAMILIES:
            beside = name.rpartition(".")[0] if "." in back else name
            paths = [*(f"{name}.{leaf}".lstrip(".") for leaf in entering), f"{beside}.{back}".lstrip(".")]
            layers = {path: modules.get(path) for path in paths}
            if head_size(module) and all(_is(layer, kind) for layer in layers.values()):
                yield from _projected(name, module, layers, times)


def _projected(name: str, module: nn.Module, layers: Mapping[str, Any], times: int) -> Iterator[Attention]:
    """Attention with layers for its projections, if their sizes are what they should be and nothing else has weights.

    A norm of every head by itself may have some.
    """
    size, (*entering, back) = head_size(module), layers
    out, into = (0, 1) if times == 1 else (1, 0)  # Conv1D has its weight the other way round
    queries, lengths = layers[back].weight.shape[into], [layers[path].weight.shape[out] for path in entering]
    own = lengths[-1] // (times * size)
    expected = [queries, own * size, own * size] if times == 1 else [times * queries]
    rest = [p for key, p in module.named_parameters(name) if key.rpartition(".")[0] not in layers]
    if own and queries % (own * size) == 0 and lengths == expected and all(p.shape == (size,) for p in rest):
        of = {(f"{path}.weight", out): times for path in entering}
        of |= {(f"{path}.bias", 0): times for path in entering if layers[path].bias is not None}
        yield Attention(module, own, queries, of, (f"{back}.weight", into))


def _multihead(name: str, module: nn.MultiheadAttention) -> Iterator[Attention]:
    if module.in_proj_weight is not None:
        inside = {"in_proj_weight": module.in_proj_weight, "in_proj_bias": module.in_proj_bias}
        of = {(f"{name}.{leaf}".lstrip("."), 0): 3 for leaf, tensor in inside.items() if tensor is not None}
        reads = (f"{name}.out_proj.weight".lstrip("."), 1)
        yield Attention(module, module.num_heads, module.embed_dim, of, reads, fixed=True)


def head_size(module: Any) -> int:
    """How many outputs of the values a head has; 0 where the module does not say."""
    return getattr(module, "head_dim", 0) or getattr(module, "attention_head_size", 0)


def _is(layer: Any, kind: type | str) -> bool:
    return type(layer).__name__ == kind if isinstance(kind, str) else isinstance(layer, kind)


def _suspects(model: nn.Module) -> str:
    """The classes that by their names are attention."""
    found = sorted({type(m).__name__ for m in model.modules() if "Attention" in type(m).__name__})
    return f", whose {', '.join(found)} this does not know" if found else ""
