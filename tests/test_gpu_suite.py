"""The suite for machines with a GPU runs without one, so that it does not rot between two loans."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NO_DATA = ["counts", "speed", "analyze", "moments", "verify_mlp"]


def suite(output, *arguments):
    command = [sys.executable, ROOT / "analysis" / "gpu_suite.py", "--device", "cpu", "--quick", "--output", output]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in (output / "gpu_suite.jsonl").read_text().splitlines()]
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(row["ok"] for row in rows)
    return {row["step"]: row for row in rows}


def test_the_quick_steps(tmp_path):
    rows = suite(tmp_path, *(f"--only={step}" for step in ("counts", "speed", "moments")))
    assert list(rows) == ["machine", "counts", "speed", "moments"]
    assert rows["counts"]["figures"]["largest_relative_difference"] <= 1e-12
    assert (tmp_path / "engine_cuda.jsonl").exists()


@pytest.mark.slow
def test_all_steps(tmp_path, data):
    rows = suite(tmp_path, "--data", data)
    assert list(rows) == ["machine", "gpu_tests", *NO_DATA, "verify_resnet", "train"]
