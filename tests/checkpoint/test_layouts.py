"""The neuron axis: worked shapes, and names and shapes alone give what the classes of a module give."""

import numpy as np
import pytest
import torch

from lqtheory.checkpoint import Layout, read
from lqtheory.checkpoint.layout import (
    by_columns,
    by_rows,
    embedding,
    experts_by_columns,
    experts_by_rows,
    transposed_convolution,
)


def layouts(shapes: dict[str, tuple[int, ...]], config=None) -> dict[str, Layout]:
    """Layouts that names and shapes alone lead to, as numpy arrays carry no class."""
    from lqtheory.checkpoint.ledger import account
    from lqtheory.checkpoint.tensor import Stored

    stored = [Stored(name, shape, "float32", lambda: np.zeros(0, np.uint32)) for name, shape in shapes.items()]
    return {tensor.name: tensor.layout for tensor in account("test", stored, config=config).tensors}


def responses(module: torch.nn.Module, size: tuple[int, ...]) -> torch.Tensor:
    """Outputs of a module without bias for a random input, channels first."""
    return module(torch.randn(2, *size, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("module", "size"),
    [
        (torch.nn.Linear(5, 3, bias=False), (5,)),
        (torch.nn.Conv1d(4, 6, 3, groups=2, bias=False), (4, 9)),
        (torch.nn.Conv2d(4, 6, 3, bias=False), (4, 9, 9)),
        (torch.nn.ConvTranspose1d(4, 6, 3, bias=False), (4, 9)),
        (torch.nn.ConvTranspose2d(6, 9, 3, groups=3, bias=False), (6, 5, 5)),
        (torch.nn.ConvTranspose3d(4, 2, 2, groups=2, bias=False), (4, 3, 3, 3)),
    ],
)
def test_a_row_holds_exactly_the_weights_of_one_output_channel(module, size):
    """Doubling the weights of row k changes output channel k and no other."""
    (tensor,) = read(module).tensors
    before = responses(module, size)
    assert tensor.layout.rows == before.shape[1]
    owners = tensor.layout.as_rows(np.arange(tensor.parameters))
    for k, own in enumerate(owners):
        changed = type(module)(**arguments(module))
        weights = module.weight.detach().clone()
        weights.view(-1)[own] *= 2
        changed.weight.data = weights
        moved = (responses(changed, size) - before).abs().flatten(2).amax((0, 2)) if len(size) > 1 else None
        moved = (responses(changed, size) - before).abs().amax(0) if moved is None else moved
        assert [int(i) for i in moved.nonzero()] == [k]


def arguments(module: torch.nn.Module) -> dict:
    if isinstance(module, torch.nn.Linear):
        return {"in_features": module.in_features, "out_features": module.out_features, "bias": False}
    names = ("in_channels", "out_channels", "kernel_size", "groups")
    return {name: getattr(module, name) for name in names} | {"bias": False}


class Zoo(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(5, 7)
        self.square = torch.nn.Linear(6, 6)
        self.conv1 = torch.nn.Conv1d(4, 6, 3, bias=False)
        self.conv2 = torch.nn.Conv2d(4, 6, 3)
        self.grouped = torch.nn.Conv2d(4, 6, 3, groups=2)
        self.depthwise = torch.nn.Conv2d(6, 6, 3, groups=6)
        self.up = torch.nn.ConvTranspose2d(8, 6, 2)
        self.up_grouped = torch.nn.ConvTranspose1d(6, 9, 2, groups=3)
        self.deconv = torch.nn.ConvTranspose2d(6, 6, 2)
        self.words = torch.nn.ModuleDict({"word_embeddings": torch.nn.Embedding(11, 4)})
        self.attention = torch.nn.MultiheadAttention(8, 2)
        self.rnn = torch.nn.LSTM(4, 3)
        self.norm = torch.nn.BatchNorm2d(6)


def test_a_state_dict_gives_the_layouts_of_its_module():
    zoo = Zoo()
    by_class = {t.name: t.layout for t in read(zoo).tensors}
    by_name = {t.name: t.layout for t in read(zoo.state_dict()).tensors}
    assert by_name == by_class
    assert by_class["up_grouped.weight"] == Layout(3, 2, 3, 2, "transposed convolution")
    assert by_class["words.word_embeddings.weight"] == Layout(1, 1, 11, 4, "embedding")
    assert by_class["attention.in_proj_weight"] == Layout(1, 1, 24, 8, "linear")
    assert by_class["rnn.weight_ih_l0"] == Layout(1, 1, 12, 4, "linear")


def test_parametrized_layers_keep_the_layout_of_their_class():
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.ConvTranspose1d(4, 6, 2, groups=2), dim=0)
    (tensor,) = read(torch.nn.Sequential(layer)).tensors
    assert tensor.name == "0.parametrizations.weight.original1"
    assert tensor.layout == transposed_convolution((4, 3, 2), 2)


def test_class_of_transformers_is_known_by_its_name():
    class Conv1D(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(6, 6))

    assert read(torch.nn.Sequential(Conv1D())).tensors[0].layout == by_columns((6, 6), "linear")


GPT2 = {
    "h.0.attn.c_attn.weight": (6, 18),
    "h.0.attn.c_attn.bias": (18,),
    "h.0.attn.c_proj.weight": (6, 6),
    "h.0.attn.c_proj.bias": (6,),
    "h.0.mlp.c_fc.weight": (6, 24),
    "h.0.mlp.c_fc.bias": (24,),
    "h.0.mlp.c_proj.weight": (24, 6),
    "h.0.mlp.c_proj.bias": (6,),
}


def test_gpt2_has_its_outputs_on_the_last_axis():
    found = layouts(GPT2)
    assert found == {n: by_columns(s, "linear") for n, s in GPT2.items() if len(s) == 2}
    assert found["h.0.attn.c_attn.weight"].rows == 18


def test_the_same_names_on_linear_layers_as_in_nanogpt():
    turned = {name: shape[::-1] for name, shape in GPT2.items()}
    assert layouts(turned) == {n: by_rows(s, "linear") for n, s in turned.items() if len(s) == 2}
    without_bias = {name: shape for name, shape in turned.items() if len(shape) == 2}
    assert layouts(without_bias) == {n: by_rows(s, "linear") for n, s in without_bias.items()}


def test_a_square_layer_with_such_a_name_alone_is_a_guess_until_the_config_tells():
    lone = {"h.0.attn.c_proj.weight": (6, 6)}
    assert layouts(lone)["h.0.attn.c_proj.weight"].assumed
    assert layouts(lone, {"model_type": "gpt2"}) == {"h.0.attn.c_proj.weight": by_columns((6, 6), "linear")}


UP, DOWN = "model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mlp.experts.down_proj"


@pytest.mark.parametrize(
    ("shapes", "config", "expected"),
    [
        ({UP: (4, 10, 6), DOWN: (4, 6, 5)}, None, experts_by_rows),
        ({UP: (4, 6, 10), DOWN: (4, 5, 6)}, None, experts_by_columns),
        ({UP: (4, 6, 6), DOWN: (4, 3, 6)}, None, experts_by_columns),  # 2I = H, as in gpt-oss-like squares
        ({UP: (4, 6, 6), UP + "_bias": (4, 6)}, {"model_type": "gpt_oss"}, experts_by_columns),
        ({UP: (4, 6, 10), UP + "_bias": (4, 10)}, None, experts_by_columns),
        ({UP: (4, 6, 10)}, {"text_config": {"hidden_size": 6}}, experts_by_columns),
        ({DOWN: (4, 6, 10)}, {"hidden_size": 6}, experts_by_rows),
        ({UP: (4, 6, 6)}, {"model_type": "mixtral"}, experts_by_rows),
        ({UP: (4, 6, 6)}, {"text_config": {"model_type": "llama4_text"}}, experts_by_columns),
        ({"moe.experts.w1": (4, 10, 6)}, {"hidden_size": 6}, experts_by_rows),
    ],
)
def test_fused_experts(shapes, config, expected):
    matrices = {name: shape for name, shape in shapes.items() if len(shape) == 3}
    found = {name: layout for name, layout in layouts(shapes, config).items() if name in matrices}
    assert found == {name: expected(shape) for name, shape in matrices.items()}


@pytest.mark.parametrize("model_type", [None, "a model of tomorrow", [], 3])
def test_fused_experts_without_evidence_are_a_guess(model_type):
    assert layouts({UP: (4, 6, 6)}, {"model_type": model_type})[UP].assumed
    assert layouts({"moe.experts.w1": (4, 10, 6)})["moe.experts.w1"] == experts_by_rows((4, 10, 6)).guessed()


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({"dense/kernel:0": (5, 7), "dense/bias:0": (7,)}, by_columns((5, 7), "linear")),
        ({"params.Conv_0.kernel": (3, 3, 4, 6)}, by_columns((3, 3, 4, 6), "convolution")),
        ({"c/depthwise_kernel": (3, 3, 4, 2)}, Layout(1, 9, 8, 1, "convolution")),
        ({"q/kernel": (8, 2, 4), "q/bias": (2, 4)}, Layout(1, 8, 8, 1, "convolution")),
        (
            {"conv2d_transpose/kernel": (3, 3, 6, 4), "conv2d_transpose/bias": (6,)},
            Layout(1, 9, 6, 4, "transposed convolution"),
        ),
        ({"patch_embed.proj.weight": (8, 3, 4, 4)}, by_rows((8, 3, 4, 4), "convolution")),
        ({"patch_embedding.weight": (8, 3, 4, 4)}, by_rows((8, 3, 4, 4), "convolution")),
        ({"x.weight": (9, 4, 3, 3), "x.bias": (8,)}, by_rows((9, 4, 3, 3), "convolution")),
        ({"pos_embed": (1, 17, 8)}, embedding((1, 17, 8))),
        ({"cls_token": (1, 1, 8)}, embedding((1, 1, 8))),
        ({"transformer.wte.weight": (50, 8)}, embedding((50, 8))),
        ({"embed_out.weight": (50, 8)}, by_rows((50, 8), "linear")),
        ({"time_embed.weight": (9, 8), "time_embed.bias": (9,)}, by_rows((9, 8), "linear")),
        ({"x.weight": (8, 4), "x.bias": (4,)}, by_columns((8, 4), "linear")),
        ({"decoder.upconv1.weight": (8, 4, 2, 2)}, transposed_convolution((8, 4, 2, 2)).guessed()),
        ({"up.weight": (8, 4, 2, 2), "up.bias": (4,)}, transposed_convolution((8, 4, 2, 2))),
        ({"up.weight": (8, 8, 2, 2), "up.bias": (8,)}, transposed_convolution((8, 8, 2, 2)).guessed()),
        ({"up.weight": (8, 8, 3, 3), "up.bias": (8,)}, by_rows((8, 8, 3, 3), "convolution")),
        ({"conv_transformer.conv.weight": (8, 8, 3, 3)}, by_rows((8, 8, 3, 3), "convolution")),
        ({"decoder.conv_tr1.weight": (8, 4, 3)}, transposed_convolution((8, 4, 3)).guessed()),
        ({"deconv.weight": (8, 8, 3, 3), "deconv.bias": (8,)}, transposed_convolution((8, 8, 3, 3))),
        ({"deconv.weight": (8, 4, 3, 3), "deconv.bias": (8,)}, transposed_convolution((8, 4, 3, 3), 2)),
        ({"deconv.weight": (9, 4, 3, 3), "deconv.bias": (9,)}, by_rows((9, 4, 3, 3), "convolution")),
        ({"text_projection": (8, 6)}, by_rows((8, 6), "linear").guessed()),
        ({"mixer.weight": (8, 6, 4)}, by_rows((8, 6, 4), "convolution").guessed()),
    ],
)
def test_names_and_neighbours(shapes, expected):
    name = next(iter(shapes))
    assert layouts(shapes)[name] == expected


@pytest.mark.parametrize("layout", [Layout(2, 3, 4, 5, "experts"), Layout(1, 3, 4, 1, "linear"), by_rows((4, 15), "")])
def test_rows_follow_the_stored_index(layout):
    """Row b * neurons + n, entry o * inner + i is the stored entry [b, o, n, i]."""
    count = layout.rows * layout.fan_in
    rows = layout.as_rows(np.arange(count))
    assert rows.shape == (layout.rows, layout.fan_in)
    for row in range(layout.rows):
        b, n = divmod(row, layout.neurons)
        for entry in range(layout.fan_in):
            o, i = divmod(entry, layout.inner)
            assert rows[row, entry] == ((b * layout.outer + o) * layout.neurons + n) * layout.inner + i
