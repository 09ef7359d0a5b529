"""The language model of the experiments: its text, that it is trained, and that the same seed trains the same one."""

from pathlib import Path

import prune_language_model as experiment
import prune_tables
import pytest
import torch
from torch.nn.functional import cross_entropy


def test_files_are_held_out_whole_and_none_is_lost(tmp_path):
    for name in "abcdefghijklmnopqr":
        (tmp_path / f"{name}.py").write_text(f"{name}1")
    (tmp_path / "notes.txt").write_text("no module")
    text = experiment.Text(tmp_path)
    assert bytes(text.held_out.tolist()) == b"h1p1"
    assert bytes(text.train.tolist()) == b"a1b1c1d1e1f1g1i1j1k1l1m1n1o1q1r1"
    digest = text.name.rpartition(" ")[2]
    (tmp_path / "a.py").write_text("a2")
    assert experiment.Text(tmp_path).name.rpartition(" ")[2] != digest


def test_windows_are_pieces_of_the_text_up_to_its_end():
    text = torch.arange(experiment.CONTEXT + 4)
    rows = experiment.windows(text, 200, torch.Generator().manual_seed(0))
    assert rows.shape == (200, experiment.CONTEXT + 1)
    assert torch.equal(rows[:, 1:] - rows[:, :-1], torch.ones_like(rows[:, 1:]))
    assert set(rows[:, 0].tolist()) == {0, 1, 2, 3}


def test_training_is_repeated_by_its_seed_and_learns(monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setattr(experiment, "WARMUP", 2)
    text = torch.arange(1000) % 5
    models = [experiment.network() for _ in range(2)]
    for model in models:
        experiment.train(model, text, 6)
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
    rows = experiment.windows(text, 4, torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, after = (
            cross_entropy(model(rows[:, :-1]).logits.flatten(0, 1), rows[:, 1:].flatten())
            for model in (experiment.network(), models[0])
        )
    assert after < 0.8 * before


@pytest.mark.parametrize(("page", "sentence"), prune_tables.facts())
def test_sentences_have_the_numbers_of_the_records(page, sentence):
    text = (Path(__file__).parents[2] / "docs" / page).read_text()
    assert sentence in " ".join(text.split())


def test_the_support_search_is_ahead_and_no_bound_of_a_layer_is_violated():
    found = {(r.setting["method"], r.sparsity): r.setting["perplexity"] for r in prune_tables.points()}
    for share in experiment.SPARSITIES:
        ours, *others = (found[method, share] for method in experiment.METHODS)
        assert ours < min(others[1:])
    every = prune_tables.records.read(experiment.RESULTS)
    assert len(found) == 5 * len(experiment.METHODS) + 4 * len(experiment.OF_HEADS)
    assert not any(r.violated or r.setting.get("violations") for r in every)
