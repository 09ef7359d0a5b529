"""The demo end to end, and what it promises about the network and the data that ship."""

import gzip
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from lqtheory import demo, evaluate, records
from lqtheory.evaluate import read_stack

SHIPPED = Path(str(files("lqtheory") / "data"))
SPARSITIES = (0.5, 0.8)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    output, console = tmp_path_factory.mktemp("demo") / "out", Console(record=True, width=100, quiet=False)
    assert demo.run(output, seed=3, sparsities=SPARSITIES, console=console) == 0
    return output, console.export_text()


def test_demo_writes_everything_and_nothing_else(finished):
    assert sorted(path.name for path in finished[0].iterdir()) == [
        "bound_vs_measured.pdf",
        "bound_vs_measured.png",
        "demo-pruned.safetensors",
        "masks.safetensors",
        "recipe.json",
        "records.jsonl",
    ]


def test_demo_sets_the_ladder_beside_three_quantities_without_a_violation(finished):
    found = records.read(finished[0] / "records.jsonl")
    ladder = 5 * 3 + 1 + 1  # tiers A, B, C, D, F for three quantities, G and H for one
    assert len(found) == len(SPARSITIES) * (ladder + 2 * 4) + 4  # the others and the re-fit at 80 %: C and G
    assert {r.sparsity for r in found if r.setting["method"] == demo.REFITTED} == {0.8}
    assert {r.tier for r in found} == set("ABCDFGH")
    assert {r.seed for r in found} == {3}
    assert records.violations(found) == 0
    assert f"{len(found)} bounds set beside measurements, 0 violated" in finished[1]


def test_bounds_of_the_demo_say_something(finished):
    """Figures of this very network, so that a bound that becomes loose is noticed."""
    found = records.read(finished[0] / "records.jsonl")
    error = [r for r in found if r.setting["quantity"] == "output_error"]
    assert not any(r.vacuous for r in error if r.sparsity == 0.5 and r.setting["method"] == "keep rule")
    tight = {r.setting["method"]: r.tightness for r in error if r.tier == "C" and r.sparsity == 0.8}
    assert all(1 <= value < (15 if method == demo.REFITTED else 7) for method, value in tight.items())


def test_the_refit_is_judged_on_other_inputs_than_it_has_seen_and_helps(tmp_path):
    assert demo.run(tmp_path, sparsities=(0.95,), console=Console(quiet=True)) == 0
    at = {r.setting["method"]: r for r in records.read(tmp_path / "records.jsonl") if demo.is_harm_by_tier_c(r)}
    assert at[demo.REFITTED].setting["accuracy"] > at["global magnitude"].setting["accuracy"]
    assert at[demo.REFITTED].setting["kept"] == at["global magnitude"].setting["kept"]
    assert at[demo.REFITTED].setting["samples"] == 1500 == len(demo.judged(demo.shipped_sample(SHIPPED)).y)


def test_the_pruned_checkpoint_is_the_network_that_was_measured(finished):
    output, _ = finished
    recipe = json.loads((output / "recipe.json").read_text())
    stack, sample = read_stack(output / "demo-pruned.safetensors"), demo.judged(demo.shipped_sample(SHIPPED))
    measured = {
        r.setting["accuracy"]
        for r in records.read(output / "records.jsonl")
        if r.sparsity == recipe["sparsity"] and r.setting["method"] == recipe["method"]["name"]
    }
    assert measured == {evaluate.accuracy(evaluate.outputs(stack, sample.x), sample.y)}
    kept = sum(tensor["kept"] for tensor in recipe["tensors"].values())
    assert kept == sum(int(mask.sum()) for mask in load_file(output / "masks.safetensors").values())
    assert kept == sum(int(np.count_nonzero(w)) for w in stack.weights)


def test_a_violated_bound_ends_the_demo_with_1_and_a_second_run_replaces_the_first(tmp_path, monkeypatch):
    honest = evaluate.output_error
    monkeypatch.setattr(evaluate, "output_error", lambda f, g: 1e6 * honest(f, g))
    assert demo.run(tmp_path, sparsities=(0.8,), console=Console(quiet=True)) == 1
    monkeypatch.undo()
    assert demo.run(tmp_path, sparsities=(0.7,), console=Console(quiet=True)) == 0
    assert {r.sparsity for r in records.read(tmp_path / "records.jsonl")} == {0.7}


def test_what_ships_is_small_and_says_its_licence():
    names = sorted(path.name for path in SHIPPED.iterdir())
    assert names == ["LICENSE-fashion-mnist.txt", "demo.safetensors", "demo_heldout.npz"]
    assert sum((SHIPPED / name).stat().st_size for name in names) < 2.5e6
    assert "Zalando" in (SHIPPED / "LICENSE-fashion-mnist.txt").read_text()
    with np.load(SHIPPED / "demo_heldout.npz") as arrays:
        assert "MIT" in str(arrays["licence"])


def test_shipped_network_has_the_accuracy_that_its_file_states():
    stack, sample = read_stack(SHIPPED / "demo.safetensors"), demo.shipped_sample(SHIPPED)
    header = (SHIPPED / "demo.safetensors").read_bytes()
    about = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]
    accuracy = evaluate.accuracy(evaluate.outputs(stack, sample.x), sample.y)
    assert f"{accuracy:.4f}" == about["held_out_accuracy"]
    assert accuracy > float(about["held_out_accuracy_plain"]) - 0.015


def test_held_out_images_are_test_images(data):
    folder = data / "datasets" / "fashion-mnist"
    images = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    with np.load(SHIPPED / "demo_heldout.npz") as arrays:
        original = np.frombuffer(images, np.uint8).reshape(-1, 28, 28)[arrays["index"]]
        np.testing.assert_array_equal(arrays["x"], original)
        assert len(np.unique(arrays["index"])) == 2000
