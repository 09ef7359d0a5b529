"""The documentation builds, and every warning of the build is an error."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_strict_build(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", str(tmp_path / "html")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "html" / "index.html").stat().st_size > 0
