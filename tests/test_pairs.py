"""Networks that others pruned are told from their dense twins, weight by weight or channel by channel."""

import pytest

from lqtheory.analysis import Analysis, analyze
from lqtheory.comparison import compare


@pytest.fixture(scope="module")
def mlps(data) -> tuple[Analysis, Analysis]:
    folder = data / "models" / "hls4ml" / "mnist_mlp_784-512-512-10"
    return analyze(folder / "model_def_best.safetensors"), analyze(folder / "model_10P_best.safetensors")


@pytest.fixture(scope="module")
def resnets(data) -> tuple[Analysis, Analysis]:
    folder = data / "models" / "torch-pruning-resnet56"
    names = "reg_cifar10_resnet56_group_sl_0.0005.pth", "cifar10_resnet56_group_sl_pruned.safetensors"
    dense, pruned = (analyze(folder / name) for name in names)
    return dense, pruned


def test_the_mlp_of_ten_percent_has_its_zeros_counted(mlps):
    """668,672 weights, 601,683 zeros, as the authors' files have them; the dense twin has none."""
    dense, pruned = (each.network for each in mlps)
    assert (dense.parameters, dense.zeros) == (668_672, 0)
    assert (pruned.parameters, pruned.zeros) == (668_672, 601_683)
    assert pruned.indices["hard_sparsity"] == pytest.approx(601_683 / 668_672, rel=1e-12)
    flags = [flag for tensor in mlps[1].tensors for flag in tensor.measure.flags]
    assert sorted(flags) == [f"{n} of 512 neurons have no weight but zeros" for n in (111, 357)]
    assert not any(tensor.measure.flags for tensor in mlps[0].tensors)


def test_the_mlp_of_ten_percent_counts_as_fewer_weights_than_it_keeps(mlps):
    dense, pruned = (each.network.indices["effective_number"]["0.5"] for each in mlps)
    assert pruned < 668_672 - 601_683 < 0.2 * dense
    assert compare(*mlps, resamples=0).verdict == "B"


def test_the_thinned_resnet_has_its_weights_and_filters_counted(resnets):
    """Whole channels are gone, so no zero is left to see: the count of weights says it, and of neurons."""
    dense, pruned = (each.network for each in resnets)
    assert (dense.parameters, pruned.parameters) == (851_504, 291_565)
    assert dense.zeros == pruned.zeros == 0
    assert (dense.neurons, pruned.neurons) == (2128 + 10, 1325 + 10)
    wide, thin = ({t.tensor.name: t.tensor.shape for t in each.tensors} for each in resnets)
    assert wide.keys() == thin.keys()
    assert all(a <= b for name in wide for a, b in zip(thin[name], wide[name], strict=True))


def test_what_the_thinned_resnet_lost_could_be_seen_in_its_dense_twin(resnets):
    """Trained with a group penalty: the dense one is nearly as sparse as what was cut, by weights and by filters."""
    dense, pruned = (each.network for each in resnets)
    assert dense.indices["weights_needed"]["0.1"] == pytest.approx(pruned.parameters, rel=0.05)
    assert dense.indices["gini"] > pruned.indices["gini"] + 0.2
    assert dense.structured["gini"] > pruned.structured["gini"] + 0.1
    assert compare(*resnets, resamples=0).verdict == "A"
