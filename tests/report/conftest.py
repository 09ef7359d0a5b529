"""One page of each kind, made once."""

import numpy as np
import pytest
from report.pages import HOSTILE, network, records

from lqtheory.analysis import analyze
from lqtheory.report import Run, html, read_runs


@pytest.fixture(scope="session")
def analysis_page() -> str:
    return html([*read_runs([analyze(network() | {HOSTILE: np.ones((3, 4), np.float32)})])], "lqtheory report net")


@pytest.fixture(scope="session")
def comparison_page() -> str:
    return html(read_runs([analyze(network()), analyze(network(1, power=3.0))]))


@pytest.fixture(scope="session")
def records_page() -> str:
    return html([Run("records", "records.jsonl", records(), ())])
