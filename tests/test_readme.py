"""The README is true: its Python runs as printed, and its commands and links exist."""

import re
from pathlib import Path

from click.testing import CliRunner

from lqtheory.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_its_python_runs_as_printed(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert "10,000 of 10,000 parameters analysed" in capsys.readouterr().out


def test_its_commands_exist():
    named = set(re.findall(r"lqtheory (\w+)", README)) - {"installs"}
    assert {"analyze", "compare", "demo"} <= named
    for command in named & set(re.findall(r"^lqtheory (\w+)", README, flags=re.MULTILINE)):
        assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0
    targets = set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE))
    assert targets
    assert all(f"\n{target}:" in (ROOT / "Makefile").read_text() for target in targets)


def test_its_local_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
