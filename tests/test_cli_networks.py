"""`prune`, `verify` and `certify` from the command line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import nn

from lqtheory import records
from lqtheory.cli.certify import certify
from lqtheory.cli.networks import recipe_of
from lqtheory.cli.prune import prune
from lqtheory.cli.verify import verify


@pytest.fixture
def network(tmp_path, monkeypatch) -> tuple[str, str]:
    """A stack of linear layers in half precision, and inputs with the labels that it gives them."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(9, 14), nn.ReLU(), nn.Linear(14, 3))
    named = {"fc1.weight": model[0].weight, "fc1.bias": model[0].bias, "fc2.weight": model[2].weight}
    save_file({name: value.detach().half() for name, value in named.items()}, "net.safetensors")
    x = torch.randn(120, 9)
    np.savez("data.npz", x=x.numpy(), y=model(x).argmax(1).numpy())
    return "net.safetensors", "data.npz"


def run(command, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_prune_writes_what_the_original_code_loads(network):
    source, data = network
    code, said = run(prune, source, "--sparsity", "0.6", "--calibration", data, "-o", "out")
    assert code == 0
    before, after, masks = (load_file(f) for f in (source, "out/net-pruned.safetensors", "out/masks.safetensors"))
    assert {n: (v.shape, v.dtype) for n, v in after.items()} == {n: (v.shape, v.dtype) for n, v in before.items()}
    assert set(masks) == {"fc1.weight", "fc2.weight"}
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert kept == 67 == sum(int((after[name] != 0).sum()) for name in masks)  # 0.4 x 168 = 67.2
    assert not torch.equal(after["fc1.bias"], before["fc1.bias"])  # re-fitted
    assert "kept 67 of 168 weights (39.88%)" in said
    assert "multiplications per input 168 -> 67" in said
    recipe = json.loads(Path("out/recipe.json").read_text())
    assert recipe["method"]["score"] == "magnitude"
    assert {"source", "versions", "seed", "command", "sparsity", "tensors"} <= set(recipe)


def test_prune_at_sparsity_zero_changes_no_bit(network):
    source, data = network
    assert run(prune, source, "--sparsity", "0", "--calibration", data, "-o", "out")[0] == 0
    before, after = load_file(source), load_file("out/net-pruned.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_prune_by_pattern(network):
    assert run(prune, network[0], "--pattern", "2:4", "-o", "out")[0] == 0
    weight = load_file("out/net-pruned.safetensors")["fc1.weight"]
    assert (weight[:, :8].reshape(-1, 4) != 0).sum(1).tolist() == [2] * 28


def test_prune_by_channels_writes_the_smaller_network_as_well(network):
    source, data = network
    code, said = run(prune, source, "--pattern", "channels", "--calibration", data, "-o", "out")
    assert code == 0
    zeroed, smaller = (load_file(f"out/net-{kind}.safetensors") for kind in ("pruned", "smaller"))
    assert {name: list(value.shape) for name, value in smaller.items()} == {
        **{"fc1.weight": [7, 9], "fc1.bias": [7], "fc2.weight": [3, 7]}
    }
    x = torch.from_numpy(np.load(data)["x"]).float()
    answers = [
        (x @ s["fc1.weight"].T.float() + s["fc1.bias"]).relu() @ s["fc2.weight"].T.float() for s in (zeroed, smaller)
    ]
    torch.testing.assert_close(*answers)
    assert "kept 84 of 168 weights" in said
    assert "out/net-smaller.safetensors" in said
    assert "stay" not in said


def test_prune_says_which_channels_cannot_be_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent / "pruning")
    from test_channels import Padded

    torch.manual_seed(0)
    torch.save(Padded().state_dict(), "net.pth")
    np.savez("data.npz", x=np.random.default_rng(0).normal(size=(20, 3, 2, 2)), y=np.zeros(20))
    arguments = ("net.pth", "--model", "test_channels:Padded", "--calibration", "data.npz", "--sparsity", "0.7")
    code, said = run(prune, *arguments, "--pattern", "channels")
    assert code == 0
    assert re.search(r"[12] of 5 channels are zeros but stay: the code has their number", said)


def test_prune_as_far_as_a_certificate_goes(network):
    source, data = network
    arguments = (source, "--data", data, "--method", "magnitude::none")
    code, said = run(prune, *arguments, "--max-drop", "0.3", "-o", "out")
    assert code == 0
    promised = re.match(r"At ([\d.]+) % sparsity, with 95 % confidence, at most 30 % of inputs", said)
    recipe = json.loads(Path("out/recipe.json").read_text())
    assert recipe["sparsity"] == recipe["guarantee"]["sparsity"] == float(promised[1]) / 100 > 0
    assert recipe["held_out"] == data
    assert f"kept {round(168 * (1 - recipe['sparsity']))} of 168 weights" in said
    code, said = run(prune, *arguments, "--max-drop", "0.9", "--tier", "C", "-o", "out")
    assert "at most 90 % of the 120 inputs at hand are lost, by Theorem" in said
    code, said = run(prune, *arguments, "--max-drop", "0.001", "-o", "out")
    assert said.startswith("No sparsity of the path is certified")
    assert "kept 168 of 168 weights" in said
    for wrong in (("--max-drop", "0.1", "--sparsity", "0.5"), ("--max-drop", "0.1")):
        code, said = run(prune, *(arguments if "--sparsity" in wrong else (source,)), *wrong)
        assert code == 2
        assert "--max-drop takes the place of --sparsity and needs --data" in said


def test_verify_appends_records_and_resumes(network):
    source, data = network
    arguments = [source, "--data", data, "--method", "magnitude::none", "--sparsity", "0.5", "-o", "r.jsonl"]
    code, said = run(verify, *arguments)
    assert code == 0
    assert "1 pruned networks, 7 bounds, 0 violated." in said
    first = records.read(path := Path("r.jsonl"))
    assert run(verify, *arguments, "--sparsity", "0.7")[0] == 0
    assert records.read(path)[: len(first)] == first
    assert {r.sparsity for r in records.read(path)} == {0.5, 0.7}


def test_verify_exits_with_1_when_a_bound_is_violated(network, monkeypatch):
    from lqtheory import evaluate

    honest = evaluate.output_error
    monkeypatch.setattr(evaluate, "output_error", lambda f, g: 1e9 * honest(f, g))
    assert run(verify, network[0], "--data", network[1], "--sparsity", "0.5")[0] == 1


def test_certify_prints_the_certificate(network):
    source, data = network
    code, said = run(certify, source, "--data", data, "--limit", "0.9", "--sparsity", "0.2")
    assert code == 0
    assert said.startswith("At 20 % sparsity, with 95 % confidence, at most 90 % of inputs that the dense network gets")
    code, said = run(certify, source, "--data", data, "--format", "json")
    assert json.loads(said)["confidence"] == 0.95


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (prune, ["--sparsity", "1"], "sparsity must lie in [0, 1), got sparsity=1"),
        (prune, ["--method", "wander"], "score must be one of"),
        (prune, ["--method", "wanda"], "must have calibration data"),
        (prune, ["--pattern", "4"], "--pattern takes N:M"),
        (verify, ["--data", "nowhere.npz"], "nowhere.npz"),
        (verify, ["--data", "narrow.npz"], "got shape [8] in narrow.npz"),
        (verify, ["--data", "labels.npz"], "labels must lie in [0, 2], as the network Sequential has 3 outputs"),
        (verify, ["--data", "one.npz"], "at least 2 samples, got 1"),
        (verify, ["--data", "nan.npz"], "got 1 NaN or infinite values"),
        (verify, ["--data", "data.npz", "--calibration", "narrow.npz"], "got shape [8] in narrow.npz"),
        (verify, ["--data", "data.npz", "--tier", "Z"], "tiers are A, B"),
        (certify, ["--data", "data.npz", "--limit", "2"], "limit must lie in (0, 1), got limit=2"),
    ],
)
def test_errors_are_one_sentence_and_exit_code_2(network, command, arguments, message):
    x = np.ones((3, 9))
    np.savez("narrow.npz", x=x[:, :8], y=[0, 1, 2])
    np.savez("labels.npz", x=x, y=[0, 1, 3])
    np.savez("one.npz", x=x[:1], y=[0])
    np.savez("nan.npz", x=np.array([[np.nan, *range(8)], range(9)]), y=[0, 1])
    code, said = run(command, network[0], *arguments)
    assert code == 2
    assert message in said
    assert "Traceback" not in said


def test_methods_are_read_in_parts():
    recipe = recipe_of("wanda:uniform:none")
    assert (recipe.score, recipe.budget, recipe.fit, recipe.epochs) == ("wanda", "uniform", None, 0)
    recipe = recipe_of("magnitude::support-search:3")
    assert (recipe.budget, recipe.fit, recipe.epochs) == ("global", "support-search", 3)
    for wrong in ("a:b:c:d:e", "magnitude:::x"):
        with pytest.raises(ValueError, match="a method must be SCORE"):
            recipe_of(wrong)
