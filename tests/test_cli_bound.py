"""`lqtheory bound` as users and scripts meet it."""

import csv
import io
import itertools
import json

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from lqtheory import records
from lqtheory.cli import main
from lqtheory.records import Record

KEYS = {
    "tier", "source", "sparsity", "bound", "measured", "tightness", "vacuous", "violated", "setting", "seed",
    "versions", "commit", "device",
}  # fmt: skip


def run(*args):
    return CliRunner().invoke(main, ["bound", *map(str, args)])


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    rng = np.random.default_rng(0)
    tensors = {}
    for i, (n, m) in enumerate(itertools.pairwise((6, 9, 4))):
        tensors[f"fc{i}.weight"] = rng.standard_t(2, size=(m, n)).astype(np.float32)
        tensors[f"fc{i}.bias"] = rng.normal(size=m).astype(np.float32)
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    save_file(tensors, path)
    return path


def write(folder, x=None, y=None, name="data.npz"):
    rng = np.random.default_rng(1)
    x = rng.random((30, 6)) if x is None else x
    np.savez(folder / name, x=x, y=rng.integers(0, 4, len(x)) if y is None else y)
    return folder / name


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_lines_hold_the_contract(network, tmp_path, form):
    result = run(network, "--data", write(tmp_path), "--sparsity", 0.5, "--sparsity", 0.25, "--format", form)
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(set(line) == KEYS for line in lines)
    found = [Record.from_json(line) for line in result.stdout.splitlines()]
    assert records.violations(found) == 0
    keys = [(r.tier, r.sparsity, r.setting["quantity"]) for r in found]
    assert len(set(keys)) == len(keys)
    assert {r.tier for r in found} == {"A", "B", "C", "C weighted", "D", "D uniform", "F", "G", "H"}
    assert [r.sparsity for r in found] == sorted(r.sparsity for r in found)


def test_table_shows_the_ladder_the_answer_and_where_it_is_lost(network, tmp_path):
    result = run(network, "--data", write(tmp_path), "--sparsity", 0.3, "--max-drop", 0.1, "--scope", "neuron")
    assert result.exit_code == 0, result.stderr
    for part in (
        "Output error", "Largest sparsity at harm of at most 0.1", "one error for every neuron", "factor of each step",
        "share of each layer", "fc1.weight", "magnitude by neuron", " 0 violated",
    ):  # fmt: skip
        assert part in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 120


def test_csv_md_and_a_file(network, tmp_path):
    data = write(tmp_path)
    table = list(csv.DictReader(io.StringIO(run(network, "--data", data, "--tier", "c", "--format", "csv").stdout)))
    assert not table  # tiers are upper case
    result = run(network, "--data", data, "--tier", "C", "--tier", "C-weighted", "--sparsity", 0.5, "--format", "csv")
    table = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {row["tier"] for row in table} == {"C", "C weighted"}
    assert len(table) == 6
    out = tmp_path / "out.md"
    result = run(network, "--data", data, "--tier", "G", "--sparsity", 0.5, "--format", "md", "-o", out)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert out.read_text().startswith("| method |")


def test_regions_on_demand(network, tmp_path):
    result = run(
        network, "--data", write(tmp_path), "--tier", "E", "--sparsity", 0.3, "--radius", 0.01, "--format", "json"
    )
    (line,) = map(json.loads, result.stdout.splitlines())
    assert (line["tier"], line["setting"]["quantity"], line["setting"]["radius"]) == ("E", "agreement", 0.01)
    assert line["bound"] <= line["measured"]


def test_the_largest_sparsities_are_records(network, tmp_path):
    result = run(
        network, "--data", write(tmp_path), "--sparsity", 0.3, "--max-error", 2, "--tier", "D", "--format", "json"
    )
    last = json.loads(result.stdout.splitlines()[-1])
    assert last["setting"]["quantity"] == "sparsity at output_error"
    assert 0 < last["bound"] == last["sparsity"] <= last["measured"]


def test_no_statistics_on_data_that_chose_the_weights(network, tmp_path):
    data = write(tmp_path)
    arguments = (network, "--data", data, "--method", "wanda", "--sparsity", 0.5)
    result = run(*arguments, "--format", "csv")
    assert result.exit_code == 0
    assert "no tier G" in result.stderr
    assert ",G," not in result.stdout.replace("wanda", "")
    assert all(row["tier"] != "G" for row in csv.DictReader(io.StringIO(result.stdout)))
    assert run(*arguments, "--tier", "G").exit_code == 2
    other = write(tmp_path, x=np.random.default_rng(2).random((50, 6)), name="other.npz")
    result = run(*arguments, "--tier", "G", "--held-out", other, "--format", "json")
    assert json.loads(result.stdout)["setting"]["held_out"] == 50


def broken(folder):
    (folder / "broken.npz").write_bytes(write(folder).read_bytes()[:200])
    return folder / "broken.npz"


def lacking(folder):
    np.savez(folder / "lacking.npz", x=np.zeros((3, 6)))
    return folder / "lacking.npz"


BAD = {
    "one sample": (lambda f: write(f, np.ones((1, 6)), [0]), "at least 2 samples, got 1"),
    "narrow": (lambda f: write(f, np.ones((3, 5)), [0, 1, 2]), "6 values each, as tensor 'fc0.weight' takes, got 5"),
    "labels": (lambda f: write(f, np.ones((3, 6)), [0, 1, 4]), r"labels must lie in [0, 3]"),
    "negative": (lambda f: write(f, np.ones((3, 6)), [0, 1, -1]), "got labels from -1 to 1"),
    "nan": (lambda f: write(f, np.full((3, 6), np.nan), [0, 1, 2]), "got 18 NaN or infinite values"),
    "lengths": (lambda f: write(f, np.ones((3, 6)), [0, 1]), "one label per input"),
    "one-hot": (lambda f: write(f, np.ones((3, 6)), np.eye(3)), "one row and one label per input"),
    "flat": (lambda f: write(f, np.ones(3), [0, 1, 2]), "one row and one label per input"),
    "no labels": (lacking, "got no y"),
    "broken": (broken, "data must be"),
    "missing": (lambda f: f / "nowhere.npz", "nowhere.npz"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_data_is_one_sentence_and_exit_code_2(network, tmp_path, fault):
    make, sentence = BAD[fault]
    result = run(network, "--data", make(tmp_path))
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--sparsity", 1), "sparsity must lie in [0, 1)"),
        (("--max-drop", 1.5), "--max-drop must lie in [0, 1)"),
        (("--max-error", -1, "--sparsity", 0.5, "--tier", "C"), "must not be negative"),
        (("--tier", "Z"), "tiers are A, B"),
        (("--tier", "G", "--confidence", 1), "confidence must lie in (0, 1)"),
        (("--tier", "E", "--radius", -1), "radius must be at least 0"),
        (("--tier", "E", "--box", 0.4, 0.5), "x must lie in [0.4, 0.5]"),
    ],
)
def test_bad_options(network, tmp_path, options, sentence):
    result = run(network, "--data", write(tmp_path), *options)
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr


def test_a_network_that_is_no_stack_is_named(tmp_path):
    save_file({"conv.weight": np.ones((2, 1, 3, 3), np.float32)}, tmp_path / "conv.safetensors")
    result = run(tmp_path / "conv.safetensors", "--data", write(tmp_path))
    assert result.exit_code == 2
    assert "conv.weight" in result.stderr


FACTORIES = """
import torch
from torch import nn

def fitting():
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4))

def wider():
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))

def deeper():
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4), nn.ReLU(), nn.Linear(4, 4))

def gelu():
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 4))

def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 9), nn.Identity(), nn.Linear(9, 4))

class Skipping(nn.Sequential):
    def forward(self, x):
        return super().forward(x) + x[:, :4]

def skipping():
    return Skipping(*fitting())

def convolutional():
    torch.manual_seed(0)
    parts = nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(6, 4)
    return nn.Sequential(*parts)
"""


@pytest.fixture
def factories(network, tmp_path, monkeypatch):
    (tmp_path / "bound_factories.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(tmp_path)
    tensors = load_file(network)
    renamed = {k.replace("fc0", "1").replace("fc1", "3"): v for k, v in tensors.items()}
    save_file(renamed, tmp_path / "sequential.safetensors")
    return tmp_path / "sequential.safetensors"


def test_a_model_and_a_checkpoint_give_what_the_checkpoint_alone_gives(network, factories, tmp_path):
    data = write(tmp_path)
    options = ("--data", data, "--sparsity", 0.4, "--tier", "C", "--format", "csv")
    by_model = run(factories, "--model", "bound_factories:fitting", *options)
    assert by_model.exit_code == 0, by_model.stderr
    assert by_model.stdout == run(network, *options).stdout


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        ("wider", "a checkpoint must fit the network"),
        ("deeper", "a checkpoint must fit the network"),
        ("absent", "cannot be imported"),
    ],
)
def test_a_model_that_does_not_fit_is_one_sentence(factories, tmp_path, factory, sentence):
    result = run(factories, "--model", f"bound_factories:{factory}", "--data", write(tmp_path))
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("factory", ["linear", "skipping", "convolutional"])
def test_networks_that_are_no_stack_are_traced(factories, tmp_path, factory):
    source = [factories] if factory != "convolutional" else []
    options = ("--model", f"bound_factories:{factory}", "--sparsity", 0.4, "--max-drop", 0.5)
    result = run(*source, *options, "--data", write(tmp_path), "--format", "json")
    assert result.exit_code == 0, result.stderr
    found = [Record.from_json(line) for line in result.stdout.splitlines()]
    assert {r.tier for r in found} == {"B", "C", "D", "G"}
    assert records.violations(found) == 0
    assert {r.setting["quantity"] for r in found} >= {"output_error", "harm", "sparsity at harm"}
    table = run(*source, *options, "--data", write(tmp_path))
    assert "rounding elsewhere" in table.stdout
    assert run(*source, *options, "--data", write(tmp_path), "--tier", "F").exit_code == 2


def test_what_cannot_be_traced_is_bounded_layer_by_layer(factories, tmp_path):
    options = ("--model", "bound_factories:gelu", "--data", write(tmp_path), "--sparsity", 0.4)
    result = run(factories, *options, "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert "got GELU at 2; the per-layer part of tier C and tier G still work" in result.stderr
    found = [Record.from_json(line) for line in result.stdout.splitlines()]
    assert records.violations(found) == 0
    assert {(r.tier, r.setting.get("layer")) for r in found} == {
        ("G", None), *((tier, f"{k}.weight") for tier in ("layer C", "layer norms", "layer B") for k in (1, 3)),
    }  # fmt: skip
    assert "Output error of each layer" in run(factories, *options).stdout
    refused = run(factories, *options, "--tier", "C")
    assert refused.exit_code == 2
    assert "GELU at 2" in refused.stderr


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        (np.ones((3, 5)), [0, 1, 2], "got shape [5] in data.npz"),
        (np.ones((3, 2, 2, 2)), [0, 1, 2], "got shape [2, 2, 2] in data.npz"),
        (np.ones((3, 6)), [0, 1, 4], "labels must lie in [0, 3], as the network Sequential has 4 outputs"),
        (np.ones((1, 6)), [0], "at least 2 samples, got 1"),
        (np.full((3, 6), np.inf), [0, 1, 2], "got 18 NaN or infinite values"),
    ],
)
def test_data_that_does_not_fit_a_model_is_one_sentence(factories, tmp_path, x, y, sentence):
    result = run(factories, "--model", "bound_factories:gelu", "--data", write(tmp_path, x, y))
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_violation_ends_with_exit_code_1(network, tmp_path, monkeypatch):
    monkeypatch.setattr("lqtheory.evaluate.output_error", lambda f, g: 1e300)
    result = run(network, "--data", write(tmp_path), "--tier", "C", "--sparsity", 0.5, "--format", "json")
    assert result.exit_code == 1
    assert "violated" in result.stderr
