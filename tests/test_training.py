"""The training scripts of analysis/ on tiny networks and few images."""

import json
from dataclasses import dataclass
from functools import partial

import pytest
import torch
import train_flow
import train_frontier
import train_l0
import training
from torch import nn
from training import Lines, Split

from lqtheory import records
from lqtheory.models import Data
from lqtheory.regularizers import l1, penalised


def drawn(n, seed):
    """Images of 4 x 4 pixels whose class is where the brightest quarter is."""
    x = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return Data("drawn", x, nn.functional.avg_pool2d(x, 2).flatten(1).argmax(1))


@pytest.fixture(scope="module")
def split():
    return Split(drawn(1024, 0), drawn(300, 1), drawn(300, 2))


def tiny():
    return training.mlp(16, 32, 16, 4)


def test_the_parts_of_the_training_set_are_apart_and_the_test_set_is_whole(data):
    parts = Split.of(data / "datasets" / "mnist", images=300, validation=200)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [300, 200, 10_000]
    rows = {tuple(x.flatten().tolist()) for x in (*parts.train.x, *parts.validation.x)}
    assert len(rows) == 500
    assert 0.9 < float(parts.train.x.max()) <= 1


def test_training_is_deterministic_keeps_masks_and_adds_the_penalty(split):
    found = []
    for penalty in (None, None, "l1"):
        torch.manual_seed(0)
        net = tiny()
        weights = penalised(net)
        term = (lambda _, weights=weights: 1e-2 * l1(weights)) if penalty else None
        training.fit(net, split.train, 8, 1e-2, seed=1, penalty=term, masks={"1.weight": torch.eye(32, 16) == 0})
        assert torch.equal(net[1].weight.diagonal(), torch.zeros(16))
        found.append((net[1].weight.detach().clone(), training.accuracy(net, split.test)))
    assert torch.equal(found[0][0], found[1][0])
    assert found[2][0].abs().sum() < 0.5 * found[0][0].abs().sum()
    assert found[0][1] > 0.6


def test_lines_are_found_again_and_say_where_they_come_from(tmp_path):
    lines, setting = Lines(tmp_path / "lines.jsonl"), {"network": "a", "strengths": {"alpha": 1e-5}}
    assert lines.of(setting) is None
    lines.write(setting, {"accuracy": 0.5}, seed=3)
    assert lines.of({**setting, "network": "b"}) is None
    line = lines.of(json.loads(json.dumps(setting)))
    assert lines.read() == [line]
    assert (line["accuracy"], line["seed"]) == (0.5, 3)
    assert {"commit", "versions", "device"} <= set(line)


@dataclass(frozen=True)
class Way:
    strength: float


def test_a_stopped_run_goes_on_and_the_plain_network_sets_what_must_be_kept(tmp_path):
    lines, calls = Lines(tmp_path / "lines.jsonl"), []

    def measured(way, seed, wanted):
        calls.append((way.strength, seed, wanted))
        return {"validation": {"wanted": 0.9 + seed / 100}}

    asked = partial(training.Network(tiny, 1, 1, None).asked, "x")
    work = [(Way(0.0), 0), (Way(0.5), 0), (Way(0.5), 1)]
    next(training.jobs(lines, work, Way(0.0), asked, measured))()
    for job in training.jobs(lines, work, Way(0.0), asked, measured):
        job()
    assert calls == [(0.0, 0, None), (0.5, 0, 0.9), (0.5, 1, None)]
    assert not list(training.jobs(lines, work, Way(0.0), asked, measured))


def test_the_l0_pipeline_finds_the_sparsest_network_that_is_accurate_enough(split, monkeypatch):
    monkeypatch.setitem(train_l0.NETWORKS, "tiny", train_l0.Network(tiny, 14, 6, None, ""))
    monkeypatch.setattr(train_l0, "RATE", 2e-2)
    found = train_l0.measured("tiny", split, train_l0.Method("none"), 0, 0.7)
    path, wanted = found["validation"]["path"], found["validation"]["wanted"]
    passed = [step for step, accuracy in path.items() if accuracy >= wanted]
    assert found["ratio"] == pytest.approx(2 ** (max(passed, default=0) / 3), rel=0.01)
    assert found["kept"] == found["kept_macs"] == 1 / found["ratio"]
    assert found["ratio"] >= found["ratio_untuned"] > 1
    assert found["dense_accuracy"] > 0.75
    assert found["accuracy"] > 0.65


def test_strengths_are_chosen_by_the_ratio_on_the_first_seed(tmp_path, monkeypatch):
    lines = Lines(tmp_path / "lines.jsonl")
    for name in "xy":
        monkeypatch.setitem(train_l0.NETWORKS, name, train_l0.Network(tiny, 1, 1, None, ""))
    monkeypatch.setattr(train_l0, "METHODS", {"none": [train_l0.Method("none")], "l1": [1, 2]})
    for penalty, alpha, ratio, seed in (("none", 0, 4, 0), ("l1", 1, 8, 0), ("l1", 2, 9, 0), ("l1", 1, 99, 1)):
        strengths = {"alpha": alpha} if alpha else {}
        setting = train_l0.asked("x", train_l0.Method(penalty, strengths), seed)
        lines.write(setting, {"ratio": ratio, "validation": {"wanted": 0.9 + seed}}, seed)
    assert [train_l0.best("x", name, lines) for name in ("none", "l1", "l2")] == [
        train_l0.Method("none"),
        train_l0.Method("l1", {"alpha": 2}),
        None,
    ]
    plain = train_l0.Method("none")
    assert lines.wanted(train_l0.asked("x", plain, 0)) == 0.9
    assert lines.wanted(train_l0.asked("y", plain, 0)) is None


def tiny_cnn():
    convolutions = [nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(32, 4))


@pytest.mark.parametrize("make", [tiny, tiny_cnn])
def test_certificates_hold_for_stacks_and_graphs_and_can_be_trained_for(make, split, monkeypatch):
    monkeypatch.setitem(train_frontier.NETWORKS, "tiny", train_frontier.Network(make, 8, (), 100))
    monkeypatch.setattr(train_frontier, "PREVIEW", 50)
    monkeypatch.setattr(train_frontier, "SPARSITIES", (0.5, 0.7))
    monkeypatch.setattr(train_frontier, "RATE", 2e-2)
    shares = {}
    for penalty, strength in (("none", 0.0), ("norms and l0", 0.05)):
        found = train_frontier.measured(train_frontier.Setting("tiny", penalty, strength, 0), split)
        assert len(found) == 2 * len(train_frontier.SPARSITIES)
        assert records.violations(found) == 0
        assert not any(r.setting["broken"] for r in found)
        shares[penalty] = [r.setting["certified_share"] for r in train_frontier.of(found, data="test")]
        assert found[-1].setting["accuracy"] > 0.5
    assert shares["norms and l0"][0] > 1.5 * shares["none"][0]


def test_the_most_certified_strength_is_chosen_among_those_that_are_accurate_enough():
    def line(penalty, strength, accuracy, share, data="validation"):
        setting = {"network": "x", "penalty": penalty, "strength": strength, "seed": 0, "data": data}
        return train_frontier.Record(
            "D", "", 0.5, 0, 0, 0, False, False,
            {**setting, "validation_accuracy": accuracy, "certified_share": share}, 0, {}, None, "cpu",
        )  # fmt: skip

    found = [
        line("none", 0.0, 0.90, 0.1),
        line("norms and l0", 0.1, 0.895, 0.7),
        line("norms and l0", 0.2, 0.88, 0.9),
        line("norms and l0", 0.05, 0.897, 0.6, "test"),
    ]
    assert train_frontier.chosen(found, "x") == train_frontier.Setting("x", "norms and l0", 0.1, 0)


def drawn_at_random(net):
    for p in net.parameters():  # no symmetry that could hide a channel cut in the wrong place
        nn.init.normal_(p, 0.0, 0.2, generator=torch.Generator().manual_seed(p.numel()))
    for name, buffer in net.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2, generator=torch.Generator().manual_seed(1))
    return net.eval()


@pytest.mark.parametrize("name", train_flow.NETWORKS)
def test_thinned_networks_are_those_whose_least_channels_say_nothing(name):
    net, x = drawn_at_random(train_flow.NETWORKS[name].make()), torch.rand(3, 1, 28, 28)
    channels = [len(block.first.weight) for block in train_flow.blocks(net)]
    torch.testing.assert_close(train_flow.thinned(net, 0)(x), net(x))
    thin = train_flow.thinned(net, 3)
    inner = [len(block.first.weight) for block in train_flow.blocks(thin)]
    assert sum(inner) == round(sum(channels) * 2**-1.5)
    assert min(inner) >= 1
    scores = [block.contributions() for block in train_flow.blocks(net)]
    for score, block, count in zip(scores, train_flow.blocks(net), inner, strict=True):
        silent = score.argsort()[: len(score) - count]
        block.norm1.weight.data[silent] = 0
        block.norm1.bias.data[silent] = 0
    torch.testing.assert_close(thin(x), net(x), rtol=1e-4, atol=1e-4)
    (weights, macs), (kept, kept_macs) = train_flow.size(net, x), train_flow.size(thin, x)
    each = [block.first.weight[0].numel() for block in train_flow.blocks(net)]
    assert weights - kept == sum(2 * size * (n - m) for size, n, m in zip(each, channels, inner, strict=True))
    assert kept_macs < 0.7 * macs


@pytest.mark.parametrize("penalty", ["length and curvature", "l1 of the scales", "group lasso"])
def test_flow_penalties_are_of_the_pass_just_made_and_make_what_they_name_small(penalty):
    x = torch.rand(64, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    images = Data("drawn", x, (x[:, 0, :14].mean((1, 2)) > x[:, 0, 14:].mean((1, 2))).long())
    sizes = []
    for strength in (0.0, 1.0):
        torch.manual_seed(0)
        net = train_flow.residual_mlp()
        stages = [[str(k) for k in range(7)]]
        with train_flow.FeatureFlow(net, stages) as flow:
            term = train_flow.penalty_of(train_flow.Method(penalty, strength), net, flow)
            measure = train_flow.penalty_of(train_flow.Method(penalty, 1.0), net, flow)
            training.fit(net, images, 10, 1e-2, 0, term, batch=32)
            net(x)
            sizes.append(measure(x).item())
    assert 0 < sizes[1] < 0.95 * sizes[0]


def test_the_ablation_has_the_strength_that_thins_most_and_the_table_its_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(train_flow, "NETWORKS", {"x": train_flow.Network(tiny, 1, 1, 1, (), (0.03, 0.1))})
    lines, other = Lines(tmp_path / "lines.jsonl"), [train_flow.Method(part, 0.1) for part in train_flow.ABLATION]
    keys = ("dense_accuracy", "channels", "kept_macs", "accuracy", "channels_untuned", "weights_untuned")
    for method in [m for methods in train_flow.candidates("x").values() for m in methods] + other:
        found = {**dict.fromkeys(keys, 0.25), "kept": 0.5 - method.strength}
        lines.write(train_flow.asked("x", method, 0), found, 0)
    best = {method.penalty: method.strength for method in train_flow.chosen("x", lines)}
    assert best["length"] == best["curvature"] == best["length and curvature"] == 0.1
    lines.write(train_flow.asked("x", other[0], 1), {**dict.fromkeys(keys, 0.75), "kept": 0.2}, 1)
    (row,) = [row for row in train_flow.table(lines) if row.startswith("| x | length |")]
    assert row.startswith("| x | length | 0.1 | 2 | 50.0% (25.0% to 75.0%) |")
    assert "| 30.0% (20.0% to 40.0%) |" in row


def test_the_page_has_the_tables_of_the_records_and_no_promise_is_broken():
    page = (training.ROOT / "docs" / "experiments_training.md").read_text()
    found = records.read(train_frontier.PATH)
    tables = [
        train_frontier.table(found),
        train_l0.table(train_l0.LINES),
        train_l0.gains(train_l0.LINES),
        train_flow.table(train_flow.LINES),
    ]
    for table in tables:
        assert "\n".join(table) in page
    assert records.violations(found) == sum(r.setting["broken"] for r in found) == 0
    assert train_frontier.chosen(found, "MLP").strength == train_frontier.chosen(found, "CNN").strength == 0.01
