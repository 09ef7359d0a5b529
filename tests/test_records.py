"""Records survive the way to the file and back, also when a writer is killed."""

import json
import math
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from lqtheory import records
from lqtheory.records import Record

RECORD = Record(
    tier="C",
    source="Theorem 16",
    sparsity=0.5,
    bound=2.0,
    measured=1.0,
    tightness=2.0,
    vacuous=False,
    violated=False,
    setting={"method": "keep rule", "quantity": "output_error"},
    seed=0,
    versions={"numpy": "2"},
    commit=None,
    device="cpu",
)

finite = st.floats(0, allow_infinity=False)


@given(
    finite, finite | st.just(math.inf), st.dictionaries(st.text(), st.integers() | st.text() | st.booleans() | finite)
)
def test_a_record_is_the_same_after_json(measured, bound, setting):
    record = replace(RECORD, measured=measured, bound=bound, tightness=math.inf, setting=setting)
    assert Record.from_json(record.to_json()) == record


def test_a_line_has_the_keys_that_others_rely_on_and_no_infinity():
    keys = json.loads(replace(RECORD, bound=math.inf).to_json(), parse_constant=pytest.fail)
    assert list(keys) == [
        *["tier", "source", "sparsity", "bound", "measured", "tightness", "vacuous", "violated"],
        *["setting", "seed", "versions", "commit", "device"],
    ]
    assert keys["bound"] is None


def test_append_adds_lines_and_read_returns_them(tmp_path):
    path = tmp_path / "records.jsonl"
    other = replace(RECORD, tier="B", violated=True)
    records.append(path, [RECORD])
    records.append(path, [other, RECORD])
    assert records.read(path) == [RECORD, other, RECORD]
    assert records.violations(records.read(path)) == 1
    assert path.read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("left", [1, 40, 200])
def test_a_line_cut_short_costs_only_itself(tmp_path, left):
    path = tmp_path / "records.jsonl"
    records.append(path, [RECORD, RECORD])
    lines = path.read_bytes()
    path.write_bytes(lines[: len(lines) // 2 + left])
    with pytest.warns(UserWarning, match="left out 1 broken lines of 2"):
        assert records.read(path) == [RECORD]
    records.append(path, [RECORD])
    with pytest.warns(UserWarning, match="left out 1 broken lines of 3"):
        assert records.read(path) == [RECORD, RECORD]


def test_a_line_without_a_key_is_refused():
    keys = json.loads(RECORD.to_json())
    del keys["tier"]
    with pytest.raises(ValueError, match="a record must have the keys tier, source"):
        Record.from_json(json.dumps(keys))


def test_provenance_names_the_versions_and_the_commit_of_a_checkout():
    provenance = records.Provenance(seed=3)
    assert {"python", "lqtheory", "numpy", "torch"} <= set(provenance.versions)
    assert provenance.device == "cpu"
    if provenance.commit is not None:
        commit = provenance.commit.removesuffix("-dirty")
        subprocess.run(["git", "cat-file", "-e", commit], check=True)
