"""The neuron axis of a tensor that is known only by its name, its shape and its neighbours.

Evidence goes before convention: the length of the bias, the shapes of a pair of layers, sizes in config.json; then
what unmistakable names promise; what is left is [out, in, ...], marked as assumed where another reading is likely.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from .layout import (
    Layout,
    by_columns,
    by_rows,
    embedding,
    experts_by_columns,
    experts_by_rows,
    transposed_convolution,
)

Shape = tuple[int, ...]

_WEIGHT = re.compile(r"[.](weight_orig|weight_v)$")
_CONV1D = re.compile(r"(^|\.)(c_attn|q_attn|c_proj|c_fc)\.weight$")
_CONV1D_MODELS = {"gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp", "gpt2_double_heads"}
_EMBEDDING = re.compile(
    r"(^|_)(wte|wpe|emb|embs|embed|embeds|embedding|embeddings|embedder)$|^embed_(tokens|positions|in)|_tokens?$|"
    r"^(shared|relative_attention_bias|pos_table)$"
)
_TRANSPOSED = re.compile(r"deconv|transpose|conv_?tr(ans)?\d*[._]", re.IGNORECASE)
_UP = re.compile(r"(^|[._])up(_?conv|_?sampl\w*)?\d*[._]", re.IGNORECASE)
_EXPERTS = re.compile(r"expert|(^|[._])(input_linear|output_linear)\.weight$|moe", re.IGNORECASE)
_EXPERTS_BY_ROWS = {
    "mixtral": True,
    "qwen2_moe": True,
    "qwen3_moe": True,
    "deepseek_v2": True,
    "deepseek_v3": True,
    "olmoe": True,
    "granitemoe": True,
    "jetmoe": True,
    "llama4": False,
    "llama4_text": False,
    "gpt_oss": False,
    "aria": False,
    "aria_text": False,
}
_INTO = re.compile(r"(gate_up_proj|gate_proj|up_proj|w1|w3|v1|wi|wi_0|wi_1|fc1|input_linear)(\.weight)?$")
_OUT_OF = re.compile(r"(down_proj|w2|wo|fc2|output_linear)(\.weight)?$")


@dataclass(frozen=True)
class Family:
    """The shapes of all tensors of a checkpoint by name, and its config.json: where evidence is looked for."""

    shapes: Mapping[str, Shape]
    config: Mapping[str, Any]

    def bias(self, name: str) -> Shape | None:
        """The shape of the bias that belongs to a weight."""
        candidates = (re.sub(r"(kernel|weight)(?=[^./]*$)", "bias", name), f"{name}_bias", _WEIGHT.sub(".bias", name))
        return next((self.shapes[c] for c in candidates if c != name and c in self.shapes), None)

    def setting(self, key: str) -> Any:
        """A setting of config.json, of its language model first."""
        text = self.config.get("text_config")
        return (text if isinstance(text, Mapping) else {}).get(key, self.config.get(key))

    @cached_property
    def conv1d(self) -> bool | None:
        """Whether layers named as GPT-2 names them are Conv1D [in, out] or linear [out, in]; None without evidence."""
        votes = [vote for name in self.shapes if _CONV1D.search(name) and (vote := self._vote(name)) is not None]
        if votes:
            return votes.count(True) > votes.count(False)
        return True if str(self.setting("model_type")) in _CONV1D_MODELS else None

    def _vote(self, name: str) -> bool | None:
        shape, bias = self.shapes[name], self.bias(name)
        if len(shape) != 2 or shape[0] == shape[1]:
            return None
        if bias in ((shape[0],), (shape[1],)):
            return bias == (shape[1],)
        if name.endswith(("c_attn.weight", "c_fc.weight")):
            return shape[1] > shape[0]
        return None


def layout_of(name: str, family: Family) -> Layout:
    """The layout of the tensor `name`, which has two or more dimensions."""
    shape = family.shapes[name]
    rules = (_kernel, _experts, _transposed, _bias, _conv1d, _embedding)
    found = (layout for rule in rules if (layout := rule(name, shape, family)) is not None)
    return next(found, None) or _convention(name, shape)


def _kernel(name: str, shape: Shape, family: Family) -> Layout | None:
    """Keras and Flax: [..., in, out]; depthwise [..., in, multiplier]; Keras' transposed convolution [..., out, in]."""
    last = re.split(r"[./]", name.removesuffix(":0"))[-1]
    if not last.endswith("kernel"):
        return None
    kind = "linear" if len(shape) == 2 else "convolution"
    if last == "depthwise_kernel":
        return by_columns(shape, kind, axes=2)
    bias = family.bias(name)
    if bias and shape[-len(bias) :] == bias and len(bias) < len(shape):
        return by_columns(shape, kind, axes=len(bias))
    if _TRANSPOSED.search(name) and len(shape) > 2:
        layout = Layout(1, prod(shape[:-2]), shape[-2], shape[-1], "transposed convolution")
        return layout if bias == (shape[-2],) else layout.guessed()
    if len(shape) == 2 and bias == (shape[0],):
        return by_rows(shape, kind)
    return by_columns(shape, kind)


def _experts(name: str, shape: Shape, family: Family) -> Layout | None:
    """Fused experts: [experts, out, in] or [experts, in, out], by bias, by the pair of layers, by config.json."""
    if len(shape) != 3 or not (_EXPERTS.search(name) or name.endswith(("gate_up_proj", "down_proj"))):
        return None
    if "conv" in name.rpartition(".")[0].rpartition(".")[2]:
        return None
    evidence = (_experts_bias, _experts_pair, _experts_config)
    by_row = next((found for rule in evidence if (found := rule(name, shape, family)) is not None), None)
    if by_row is None:
        return experts_by_rows(shape).guessed()
    return experts_by_rows(shape) if by_row else experts_by_columns(shape)


def _experts_bias(name: str, shape: Shape, family: Family) -> bool | None:
    bias = family.bias(name)
    if shape[1] == shape[2] or bias not in ((shape[0], shape[1]), (shape[0], shape[2])):
        return None
    return bias == (shape[0], shape[1])


def _experts_pair(name: str, shape: Shape, family: Family) -> bool | None:
    """gate_up [E, 2I, H] with down [E, H, I], or gate_up [E, H, 2I] with down [E, I, H]."""
    up = family.shapes.get(name.replace("down_proj", "gate_up_proj"), ())
    down = family.shapes.get(name.replace("gate_up_proj", "down_proj"), ())
    if len(up) != 3 or len(down) != 3:
        return None
    if (up[1], up[2]) == (2 * down[2], down[1]):
        return True
    return False if (up[1], up[2]) == (down[2], 2 * down[1]) else None


def _experts_config(name: str, shape: Shape, family: Family) -> bool | None:
    hidden = family.setting("hidden_size")
    if shape[1] != shape[2] and hidden in shape[1:]:
        if _INTO.search(name):
            return shape[2] == hidden
        if _OUT_OF.search(name):
            return shape[1] == hidden
    return _EXPERTS_BY_ROWS.get(str(family.setting("model_type")))


def _transposed(name: str, shape: Shape, family: Family) -> Layout | None:
    """Convolutions whose name says that they are transposed, or that they go up with an even kernel."""
    bias = family.bias(name)
    groups = _groups(shape, bias) if bias else 1
    named = _TRANSPOSED.search(name)
    if len(shape) < 3 or not groups or not (named or (_UP.search(name) and shape[-1] % 2 == 0)):
        return None
    layout = transposed_convolution(shape, groups)
    certain = bias and (named or bias != shape[:1])
    return layout if certain else layout.guessed()


def _bias(name: str, shape: Shape, family: Family) -> Layout | None:
    """A bias has one entry per neuron."""
    bias = family.bias(name)
    if bias is None or len(bias) != 1:
        return None
    if bias == shape[:1]:
        square = len(shape) == 2 and shape[0] == shape[1]
        return None if square else by_rows(shape, "linear" if len(shape) == 2 else "convolution")
    if len(shape) == 2:
        return by_columns(shape, "linear") if bias == shape[1:] else None
    groups = _groups(shape, bias)
    return transposed_convolution(shape, groups) if groups else None


def _groups(shape: Shape, bias: Shape | None) -> int:
    """Groups of a transposed convolution [in, out/groups, ...] whose bias has `out` entries; 0 when impossible."""
    if bias is None or len(bias) != 1 or not shape[1]:
        return 0
    groups, rest = divmod(bias[0], shape[1])
    return groups if groups and not rest and shape[0] % groups == 0 else 0


def _conv1d(name: str, shape: Shape, family: Family) -> Layout | None:
    if len(shape) != 2 or not _CONV1D.search(name):
        return None
    if family.conv1d is None:
        return by_columns(shape, "linear").guessed()
    return by_columns(shape, "linear") if family.conv1d else by_rows(shape, "linear")


def _embedding(name: str, shape: Shape, family: Family) -> Layout | None:
    path = name.split(".")
    owner = path[-2] if path[-1] == "weight" and len(path) > 1 else path[-1]
    return embedding(shape) if _EMBEDDING.search(owner) and len(shape) < 4 else None


def _convention(name: str, shape: Shape) -> Layout:
    """[out, in, ...]; a guess for bare parameters and for 3-D tensors that are not called convolutions."""
    layout = by_rows(shape, "linear" if len(shape) == 2 else "convolution")
    last = name.rpartition(".")[2]
    if len(shape) == 3:
        return layout if "conv" in name.lower() else layout.guessed()
    return layout if "weight" in last or last == "original1" else layout.guessed()
