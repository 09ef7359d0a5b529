"""The ledger, the filters, and where the network lies in what people save."""

import numpy as np
import pytest
import torch
from torch.nn.utils import prune

from lqtheory.checkpoint import CheckpointError, read

NETWORK = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2), "scale": torch.tensor(2.0)}


def names(entries) -> list[str]:
    return [entry.name for entry in entries]


def test_each_parameter_is_analysed_or_skipped():
    checkpoint = read(
        {**NETWORK, "ids": torch.arange(4).reshape(2, 2), "n": torch.arange(4), "bn.running_mean": torch.ones(2)}
    )
    assert names(checkpoint.tensors) == ["fc.weight"]
    assert [(s.name, s.parameters, s.reason, s.matrix) for s in checkpoint.skipped] == [
        ("fc.bias", 2, "bias or norm vector: one value per neuron", False),
        ("scale", 1, "a single number", False),
        ("ids", 4, "int64 values are not floating numbers of 8 to 64 bits", True),
        ("n", 4, "int64 values are not floating numbers of 8 to 64 bits", False),
    ]
    assert names(checkpoint.buffers) == ["bn.running_mean"]
    assert (checkpoint.parameters, checkpoint.analysed) == (17, 6)


@pytest.mark.parametrize(
    ("include", "exclude", "expected", "reason"),
    [
        ("fc.*", (), ["fc.weight", "fc.bias"], None),
        (["re:bias$", "scale"], (), ["fc.bias", "scale"], "not included"),
        ((), "fc.weight", [], "excluded"),
        ("*", ["re:^fc"], ["scale"], "excluded"),
    ],
)
def test_filters(include, exclude, expected, reason):
    checkpoint = read(NETWORK, include, exclude)
    assert names(checkpoint.tensors) == expected
    assert checkpoint.parameters == 9
    assert not checkpoint.skipped_matrices
    assert {s.name: s.reason for s in checkpoint.skipped}.get("fc.weight") == reason


def test_a_vector_that_is_asked_for_is_one_row():
    (tensor,) = read(NETWORK, include="fc.bias").tensors
    assert (tensor.layout.kind, tensor.layout.rows, tensor.layout.fan_in) == ("vector", 1, 2)


def test_filters_that_cannot_work_are_errors():
    with pytest.raises(CheckpointError, match=r"no tensor that matches 'nothing\*'"):
        read(NETWORK, include="nothing*")
    with pytest.raises(CheckpointError, match=r"'re:\(' is not a regular expression"):
        read(NETWORK, exclude="re:(")


def test_tied_tensors_count_once():
    wte = torch.ones(5, 3)
    tied = {"wte.weight": wte, "lm_head.weight": wte, "view.weight": wte.view(3, 5), "t.weight": wte.view(3, 5).t()}
    checkpoint = read(tied)
    assert names(checkpoint.tensors) == ["wte.weight", "view.weight", "t.weight"]
    assert checkpoint.notes == ("lm_head.weight is the same tensor as wte.weight and counts once",)


def test_tied_tensors_in_modules_and_files_count_once(tmp_path):
    module = torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5, bias=False))
    module[1].weight = module[0].weight
    torch.save(module.state_dict(), tmp_path / "tied.pt")
    for source in (module, tmp_path / "tied.pt"):
        assert read(source).parameters == 15
        assert read(source).notes == ("1.weight is the same tensor as 0.weight and counts once",)


@pytest.mark.parametrize(
    ("wrapped", "notes"),
    [
        ({"state_dict": NETWORK, "optimizer": {"m": torch.ones(9, 9)}, "epoch": 3}, ("not read: optimizer, epoch",)),
        ({"model": {"state_dict": NETWORK}}, ()),
        ({"model_state_dict": NETWORK, "loss": torch.tensor(0.1)}, ("not read: loss",)),
        ({"net": NETWORK, "acc": 94.0}, ("not read: acc",)),
        ({"params": NETWORK, "params_ema": NETWORK}, ("not read: params_ema",)),
        ({"generator": NETWORK, "generator_ema": NETWORK}, ("not read: generator_ema",)),
        ({"ema": NETWORK, "optimizer_states": [torch.ones(3, 3)]}, ("not read: optimizer_states",)),
        ({"backbone": NETWORK, "lr_scheduler": {"x": torch.ones(2, 2)}}, ("not read: lr_scheduler",)),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_networks_inside_other_dicts(tmp_path, wrapped, notes, zipped):
    torch.save(wrapped, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    for source in (wrapped, tmp_path / "w.pth"):
        checkpoint = read(source)
        assert names(checkpoint.tensors) == ["fc.weight"]
        assert checkpoint.parameters == 9
        assert checkpoint.notes == notes


def test_several_networks_keep_their_names():
    assert names(read({"generator": NETWORK, "discriminator": NETWORK | {"fc.weight": torch.ones(2, 2)}}).tensors) == [
        "generator.fc.weight",
        "discriminator.fc.weight",
    ]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "module.module."])
def test_prefixes_of_wrappers_are_removed(prefix):
    checkpoint = read({prefix + name: tensor for name, tensor in NETWORK.items()})
    assert [(t.name, t.key) for t in checkpoint.tensors] == [("fc.weight", f"{prefix}fc.weight")]
    assert checkpoint.notes == ("removed the prefixes module. and _orig_mod. from the names",)


def test_a_prefix_that_only_some_names_have_stays():
    assert names(read({"module.fc.weight": torch.ones(2, 2), "head.weight": torch.ones(2, 2)}).tensors) == [
        "module.fc.weight",
        "head.weight",
    ]


def test_a_prefix_stays_where_two_names_would_become_one():
    assert names(read({"_orig_mod.w": torch.ones(2, 2), "w": torch.ones(2, 2)}).tensors) == ["_orig_mod.w", "w"]


def test_a_parameter_of_a_module_is_one_whatever_its_name():
    module = torch.nn.Module()
    module.register_parameter("position_ids", torch.nn.Parameter(torch.ones(2, 2)))
    module.register_buffer("weight", torch.ones(2, 2))
    assert (names(read(module).tensors), names(read(module).buffers)) == (["position_ids"], ["weight"])


def test_wrapped_modules():
    inner = torch.nn.Linear(2, 2)
    assert names(read(torch.nn.DataParallel(inner)).tensors) == ["weight"]
    assert names(read(torch.nn.ModuleDict({"_orig_mod": inner})).tensors) == ["weight"]


def test_masks_and_statistics_are_buffers():
    mask = torch.ones(1, 1, 8, 8)
    gpt2 = {"h.0.attn.bias": mask, "h.0.attn.masked_bias": torch.tensor(-1e4), "h.0.attn.c_attn.weight": mask[0, 0]}
    assert names(read(gpt2).buffers) == ["h.0.attn.bias", "h.0.attn.masked_bias"]
    assert names(read({"attn.bias": torch.ones(1, 1)}).tensors) == ["attn.bias"]
    layer = prune.l1_unstructured(torch.nn.Linear(4, 4), "weight", 0.5)
    for source in (layer, layer.state_dict()):
        assert (names(read(source).tensors), names(read(source).buffers)) == (["weight_orig"], ["weight_mask"])
        assert read(source).notes == ("weight_orig is measured as stored, before weight_mask of torch.nn.utils.prune",)


def test_scales_beside_weights_are_no_weights():
    quantised = {
        "a.weight": torch.ones(4, 4).to(torch.float8_e4m3fn),
        "a.weight_scale_inv": torch.ones(2, 2),
        "b.qweight": torch.ones(4, 4, dtype=torch.int32),
        "b.scales": torch.ones(2, 2),
        "c.weight_g": torch.ones(4, 1),
        "c.weight_v": torch.ones(4, 3),
    }
    checkpoint = read(quantised)
    assert names(checkpoint.tensors) == ["a.weight", "c.weight_v"]
    assert names(checkpoint.skipped_matrices) == ["b.qweight"]


def test_reading_changes_nothing():
    network = {name: tensor.clone().requires_grad_() for name, tensor in NETWORK.items()}
    for tensor in read(network).tensors:
        tensor.values()[:] = 7
    assert all(tensor.requires_grad and torch.equal(tensor, NETWORK[name]) for name, tensor in network.items())


def test_safetensors_come_in_numerical_order(tmp_path):
    from safetensors.numpy import save_file

    save_file({f"h.{k}.weight": np.ones((2, 2), np.float32) for k in (10, 9, 1)}, tmp_path / "w.safetensors")
    assert names(read(tmp_path / "w.safetensors").tensors) == ["h.1.weight", "h.9.weight", "h.10.weight"]
