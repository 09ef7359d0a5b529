"""Sweeps of modules: what they measure, that they resume, that ranks split them, that violations are counted."""

import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sweep_for_kills
import torch
from torch import nn

import lqtheory.sweep
from lqtheory import records
from lqtheory.bounds import harm_rate
from lqtheory.models import Data
from lqtheory.pruning.recipe import Recipe, prune
from lqtheory.records import Provenance
from lqtheory.sweep import Bench, Point, Verification, measured, verify

SCRIPT = Path(sweep_for_kills.__file__)


def lines(path: Path) -> list[str]:
    """The records in order, without the commit, which may change while a test runs."""
    return sorted(replace(record, commit=None).to_json() for record in records.read(path))


def in_one_go(tmp_path: Path) -> list[str]:
    run(tmp_path / "whole.jsonl")
    return lines(tmp_path / "whole.jsonl")


def run(path: Path, *ranks: int) -> None:
    subprocess.run([sys.executable, SCRIPT, path, *map(str, ranks)], check=True)


def convolutions() -> tuple[nn.Module, Data]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()
    x = torch.randn(50, 1, 6, 6)
    return model, Data("noise", x, torch.arange(50) % 3)


def test_a_point_is_what_the_pruned_network_does():
    model, data = convolutions()
    recipe = Recipe(fit=None)
    found = measured(Bench(model, data), Point("net", "m", 0.6, 0), recipe, Provenance(0), confidence=0.9)
    with torch.no_grad():
        f, g = model(data.x).double().numpy(), prune(model, 0.6)(data.x).double().numpy()
    before, after, y = f.argmax(1), g.argmax(1), data.y.numpy()
    lost = int(np.sum((before == y) & (after != y)))
    assert [(r.tier, r.setting["quantity"]) for r in found] == [
        ("G", "harm"), *((tier, q) for tier in "BC" for q in ("output_error", "changed_predictions", "harm")),
    ]  # fmt: skip
    assert records.violations(found) == 0
    assert found[0].measured == lost / 50
    assert found[0].bound == harm_rate(lost, 50, 0.9).value
    about = found[0].setting
    assert about["accuracy"] == np.mean(after == y)
    assert about["agreement"] == pytest.approx(np.mean(before == after))
    assert about["output_error"] == pytest.approx(np.sqrt(np.mean(np.sum((f - g) ** 2, axis=1))), rel=1e-9)


def test_the_tiers_are_those_that_were_asked_for():
    bench = sweep_for_kills.bench()
    whole = replace(bench, tiers=("A", "B", "C", "D", "F"))
    for chosen, recipe, tiers in (
        (bench, Recipe(fit=None), "GBC"), (whole, Recipe(fit=None), "GABCDF"), (whole, Recipe(), "GBCDF")
    ):  # fmt: skip
        found = measured(chosen, Point("net", "m", 0.5, 0), recipe, Provenance(0))
        assert list(dict.fromkeys(r.tier for r in found)) == list(tiers)
        assert records.violations(found) == 0
        assert {r.setting["of"] for r in found} == {len(found)}


def test_a_finished_sweep_is_not_done_again(tmp_path, monkeypatch):
    path = tmp_path / "records.jsonl"
    first = sweep_for_kills.main(path)
    text = path.read_text()
    monkeypatch.setattr(lqtheory.sweep, "measured", lambda *_: pytest.fail("a point was done again"))
    assert sweep_for_kills.main(path) == first
    assert path.read_text() == text


def test_what_a_killed_writer_left_is_done_again(tmp_path):
    path = tmp_path / "records.jsonl"
    sweep_for_kills.main(path)
    whole, expected = path.read_bytes(), lines(path)
    for end in (len(whole) // 3, len(whole) // 2, len(whole) - 1, len(whole.split(b"\n")[0]) + 1):
        path.write_bytes(whole[:end])
        sweep_for_kills.main(path)
        assert lines(path) == expected


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_with_the_same_records(tmp_path, kills):
    expected, path = in_one_go(tmp_path), tmp_path / "records.jsonl"
    rng, done = random.Random(0), 0
    while done < kills:
        before = path.stat().st_size if path.exists() else 0
        process = subprocess.Popen([sys.executable, SCRIPT, path])
        while process.poll() is None and (not path.exists() or path.stat().st_size == before):
            time.sleep(0.001)  # until it writes
        time.sleep(rng.uniform(0, 0.05))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            done += 1
        else:
            path.unlink()  # too late to kill: from the start
        process.wait()
    run(path)
    assert lines(path) == expected


def test_ranks_share_the_points_and_the_file(tmp_path):
    expected, path = in_one_go(tmp_path), tmp_path / "records.jsonl"
    together = [subprocess.Popen([sys.executable, SCRIPT, path, str(rank), "3"]) for rank in range(3)]
    assert [process.wait() for process in together] == [0, 0, 0]
    assert lines(path) == expected


def test_verify_leaves_the_model_alone_and_tells_what_it_found():
    model, data = convolutions()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = verify(model, data, [0.3, 0.8], {"m": Recipe(), "r": Recipe(score="random", fit=None)}, seeds=(0, 1))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert repr(result) == "Verification(6 pruned networks, 42 bounds, 0 violated.)"
    frame = result.to_pandas()
    assert frame["network"].unique().tolist() == ["Sequential"]
    assert len(result.to_json().splitlines()) == len(frame) == 42
    assert result.plot().get_ylabel()


def test_violations_are_counted():
    model, data = convolutions()
    honest = verify(model, data, [0.9])
    assert Verification([replace(honest.records[0], violated=True), *honest.records]).violations == 1
