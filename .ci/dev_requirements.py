"""Print the development requirements of pyproject.toml, one a line (pip 23 cannot read dependency groups)."""

import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())
print("\n".join(project["dependency-groups"]["dev"]))
