"""What importing the package costs, and that the public names are there."""

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version

import numpy as np
from click.testing import CliRunner
from safetensors.numpy import save_file

import lqtheory
from lqtheory.cli import main


def modules_after(statement):
    code = f"{statement}; import sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_import_and_help_load_neither_torch_nor_matplotlib_nor_numba():
    heavy = {"torch", "matplotlib", "numba", "pandas", "scipy", "sympy"}
    assert "numpy" in modules_after("import lqtheory")
    assert not heavy & modules_after("import lqtheory")
    assert not heavy & modules_after("from lqtheory.cli import main")


def test_reading_safetensors_does_not_load_torch(tmp_path):
    save_file({"w": np.ones((3, 3), np.float32)}, tmp_path / "m.safetensors")
    loaded = modules_after(f"import lqtheory; lqtheory.analyze({str(tmp_path / 'm.safetensors')!r})")
    assert "numba" in loaded
    assert not {"torch", "matplotlib"} & loaded


def test_public_names_stay_what_they_are_after_any_import():
    for name in dir(lqtheory):
        assert getattr(lqtheory, name) is not None
    for module in ("analysis", "comparison", "checkpoint"):
        import_module(f"lqtheory.{module}")
    assert callable(lqtheory.analyze)
    assert callable(lqtheory.compare)
    assert callable(lqtheory.read)


def completed(monkeypatch, *words):
    monkeypatch.setenv("COMP_WORDS", " ".join(("lqtheory", *words)))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    return CliRunner().invoke(main, env={"_LQTHEORY_COMPLETE": "bash_complete"}, prog_name="lqtheory").output.split()


def test_a_shell_completes_commands_options_and_files(monkeypatch):
    assert completed(monkeypatch, "com") == ["plain,compare"]
    assert completed(monkeypatch, "compare", "--res") == ["plain,--resamples"]
    assert completed(monkeypatch, "analyze", "mod") == ["file,mod"]
    assert completed(monkeypatch, "compare", "mod") == ["file,mod"]
    assert completed(monkeypatch, "report", "mod") == ["file,mod"]
    assert completed(monkeypatch, "bound", "--scope", "ne") == ["plain,neuron", "plain,network"]


def test_version_names_what_a_figure_depends_on():
    said = CliRunner().invoke(main, ["--version"]).output
    assert said.startswith(f"lqtheory {lqtheory.__version__} (Python ")
    for name in ("numpy", "numba", "torch"):
        assert f"{name} {version(name)}" in said
    assert "device: " in said
