"""The command line as users and scripts meet it: output, exit codes, one sentence for each error."""

import csv
import io
import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import save_file

from lqtheory import __version__
from lqtheory.cli import main
from lqtheory.cli.gate import holds


def run(*args):
    return CliRunner().invoke(main, [str(a) for a in args])


@pytest.fixture
def model(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {"a.weight": rng.standard_normal((8, 9)), "b.weight": np.zeros((3, 8)), "a.bias": np.ones(8)}
    save_file({k: v.astype(np.float32) for k, v in tensors.items()}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_table_names_tensors_flags_ledger_and_answer(model):
    result = run("analyze", model)
    assert result.exit_code == 0
    for part in (
        "a.weight",
        "8×9",
        "! b.weight: all weights are zero.",
        "skipped: 8 parameters",
        "96 of 104 parameters",
    ):
        assert part in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


@pytest.mark.parametrize("scope", ["neuron", "tensor", "network"])
@pytest.mark.parametrize("form", ["table", "json", "csv", "md"])
def test_every_format_and_scope(model, scope, form):
    result = run("analyze", model, "--format", form, "--scope", scope, "--q", 0.5, "--q", 0.3)
    assert result.exit_code == 0
    rows = {"neuron": 11, "tensor": 2, "network": 1}[scope]
    if form == "json":
        document = json.loads(result.stdout)
        assert document["qs"] == [0.3, 0.5]
        assert ("neuron_indices" in document["tensors"][0]) == (scope == "neuron")
    if form == "csv":
        table = list(csv.DictReader(io.StringIO(result.stdout)))
        assert len(table) == rows
        assert "pq_index[0.3,1]" in table[0]
    if form == "md":
        assert len(result.stdout.strip().splitlines()) == rows + 2


def test_include_and_exclude(model):
    names = [
        [t["name"] for t in json.loads(run("analyze", model, "--format", "json", *options).stdout)["tensors"]]
        for options in (["--include", "a*"], ["--exclude", "re:^a"], ["--include", "*.bias"])
    ]
    assert names == [["a.bias", "a.weight"], ["b.weight"], ["a.bias"]]


def test_output_is_written_whole_and_quietly(model, tmp_path):
    target = tmp_path / "out.json"
    result = run("analyze", model, "--format", "json", "-o", target)
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(target.read_text())["schema"] == "lqtheory/analysis/1"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors", "out.json"]


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        ("gini < 0.9", 1),
        ("gini > 0.9", 0),
        ("network.indices.pq_index[0.5,1] >= 0 and coverage.analysed == 96", 1),
        ("tensor.zeros == tensor.parameters", 1),
        ("tensor.zeros > tensor.parameters", 0),
        ("no_such_entry < 1", 2),
        ("__import__('os').getcwd() == 1", 2),
        ("gini <", 2),
    ],
)
def test_gates(model, gate, code):
    result = run("analyze", model, "--fail-if", gate)
    assert result.exit_code == code
    assert (result.stderr == "") == (code == 0)
    assert "Traceback" not in result.output


def test_gates_compare_words_numbers_and_missing_values():
    document = {"verdict": "A", "indices": {"gini": None}, "margins": {"A": 0.2}, "crossings": [{"weights": 0.5}]}
    assert holds('verdict == "A" and not margins.A > 0.3', document)
    assert holds("crossings[0].weights * 2 == 1 and -margins.A < 0", document)
    assert not holds("gini < 1 or gini >= 1", document)


def test_strict_fails_on_a_skipped_matrix_only(tmp_path):
    torch.save({"w": torch.ones(3, 3), "q": torch.ones(4, 4, dtype=torch.int8), "b": torch.ones(3)}, tmp_path / "m.pt")
    assert run("analyze", tmp_path / "m.pt").exit_code == 0
    result = run("analyze", tmp_path / "m.pt", "--strict")
    assert result.exit_code == 1
    assert "weight matrix 'q' was skipped" in result.stderr
    assert run("analyze", tmp_path / "m.pt", "--strict", "--exclude", "q").exit_code == 0


def test_compare_json_table_and_gate(model, tmp_path):
    rng = np.random.default_rng(1)
    save_file({"a.weight": rng.standard_cauchy((8, 9)).astype(np.float32)}, tmp_path / "other.safetensors")
    document = json.loads(run("compare", model, tmp_path / "other.safetensors", "--format", "json").stdout)
    assert document["verdict"] in ("A", "B", "crossing")
    assert {"A", "B", "difference", "interval"} <= document["indices"]["gini"].keys()
    assert "Ranking" in run("compare", model, tmp_path / "other.safetensors", "--resamples", 0).stdout
    assert run("compare", model, model, "--fail-if", 'verdict == "equal"', "--resamples", 0).exit_code == 1


class Trap:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def bad_inputs(folder):
    """name -> path of an input that must end in one sentence and exit code 2."""
    save_file({"w": np.ones((20, 20), np.float32)}, folder / "good.safetensors")
    good = (folder / "good.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(good[:-100])
    (folder / "lying.safetensors").write_bytes(good.replace(b"[20,20]", b"[20,90]"))
    (folder / "endless.safetensors").write_bytes((2**60).to_bytes(8, "little") + good[8:])
    (folder / "empty.safetensors").touch()
    (folder / "empty.pt").touch()
    (folder / "trap.pt").write_bytes(pickle.dumps({"w": Trap(folder / "sprung")}))
    with zipfile.ZipFile(folder / "trap.pth", "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({"w": Trap(folder / "sprung")}))
        file.writestr("archive/version", "3\n")
    torch.save(torch.nn.Linear(3, 3), folder / "module.pt")
    (folder / "nothing").mkdir()
    (folder / "shards").mkdir()
    index = {"weight_map": {"w": "model-00001-of-00002.safetensors"}}
    (folder / "shards" / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "words.txt").write_text("no weights here")
    names = [p.name for p in folder.iterdir() if p.name not in ("good.safetensors", "model.safetensors")]
    return [folder / name for name in names] + [folder / "does-not-exist.pt"]


def test_bad_input_is_one_sentence_and_exit_code_two(tmp_path):
    for path in bad_inputs(tmp_path):
        result = run("analyze", path)
        assert result.exit_code == 2, path
        assert result.stdout == ""
        message = result.stderr.strip()
        assert message.startswith("lqtheory: "), path
        assert len(message.splitlines()) == 1, path
    assert not (tmp_path / "sprung").exists()


def test_unknown_hub_id_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    command = [sys.executable, "-m", "lqtheory", "analyze", "no-such-org/no-such-model"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "no-such-org/no-such-model" in result.stderr


@pytest.mark.parametrize(
    "options", [["--q", "1.5"], ["--q", "0"], ["--index", "nope"], ["--format", "xml"], ["--scope", "layer"]]
)
def test_wrong_options_exit_with_two(model, options):
    result = run("analyze", model, *options)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_debug_shows_the_traceback(tmp_path):
    result = run("analyze", tmp_path / "missing.pt", "--debug")
    assert isinstance(result.exception, ValueError)


def test_version():
    assert __version__ in run("--version").stdout


def test_damage_in_one_tensor_does_not_cost_the_others(tmp_path):
    path = tmp_path / "model.npz"
    np.savez(path, good=np.ones((30, 30), np.float32), bad=np.ones((40, 40), np.float32))
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("bad.npy").header_offset + 500
    path.write_bytes(whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :])
    result = run("analyze", path, "--format", "json")
    assert result.exit_code == 2
    assert "'bad.npy'" in result.stderr
    document = json.loads(result.stdout)
    assert [tensor["name"] for tensor in document["tensors"]] == ["good"]
    assert document["coverage"]["analysed"] == 900
    assert document["coverage"]["parameters"] == 2500
