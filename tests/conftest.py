"""What every test shares: one table of tolerances, the data folder, the profile of hypothesis."""

import os
from pathlib import Path

import hypothesis
import pytest

TOLERANCE = {
    "mpmath": 1e-9,  # relative, against a definition at 50 digits
    "inequality": 1e-9,  # relative, for inequalities that the mathematics promises
    "tight": 1e-12,  # relative, where a bound is attained
    "histogram": 1e-7,  # relative, binned float32 against exact
    "torch32": 1e-5,  # relative, float32 torch against float64 numpy
    "merge": 1e-12,  # relative, sums added in another order
    "table": 0.5,  # units in the last printed digit
}

hypothesis.settings.register_profile("lqtheory", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.load_profile("lqtheory")


@pytest.fixture(scope="session")
def tolerance() -> dict[str, float]:
    return TOLERANCE


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real datasets and checkpoints; not part of the project, so tests that need it may skip."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("LQTHEORY_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no folder of real checkpoints at {folder}; set LQTHEORY_DATA to run this test")
    return folder
