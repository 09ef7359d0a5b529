"""Print the requirements of some dependency groups of pyproject.toml, one a line (pip 23 cannot read groups)."""

import sys
import tomllib
from pathlib import Path

groups = tomllib.loads(Path("pyproject.toml").read_text())["dependency-groups"]
print("\n".join(requirement for name in sys.argv[1:] for requirement in groups[name]))
