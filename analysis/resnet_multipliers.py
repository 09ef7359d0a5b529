"""Which multipliers make Theorem 33 small on ResNet-20? Descent on a coarser grid of frequencies, none folded.

On the first training images, none of which the bound is evaluated on. The search may be careless: whatever it finds is
only used through certificates. Writes analysis/results/resnet20_multipliers.json, and starts from what is there, or
with all channels alike where there is nothing; the seconds are processor time:

    python analysis/resnet_multipliers.py DATA SPARSITY SECONDS
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from cifar_resnet import images, load, magnitude_pruned

from lqtheory.bounds.graph import Graph
from lqtheory.bounds.nodes import Affine
from lqtheory.bounds.quadratic import Multipliers
from lqtheory.bounds.trace import trace

CELLS, IMAGES, RATE = 5, 20, 0.1
RESULTS = Path(__file__).parent / "results" / "resnet20_multipliers.json"
Form = torch.Tensor


def read(path: Path) -> Multipliers:
    """Pairs of (logarithms per channel, logarithm of a margin)."""
    return [(np.array(sizes), margin) for sizes, margin in json.loads(path.read_text())]


def write(path: Path, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    rows = [[[round(v, 4) for v in sizes.tolist()], round(margin.item(), 4)] for sizes, margin in pairs]
    path.write_text(json.dumps(rows) + "\n")


def symbol(kernel: np.ndarray, cells: int) -> Form:
    """The matrices of a convolution at every frequency of a grid."""
    weights, turns = torch.from_numpy(kernel).to(torch.complex128), torch.arange(cells).double() / cells
    wave = torch.exp(2j * torch.pi * turns[:, None] * (torch.arange(kernel.shape[2]) - kernel.shape[2] // 2))
    return torch.einsum("oiyx,ay,bx->aboi", weights, wave, wave).reshape(cells**2, *kernel.shape[:2])


def adjoint_sum(form: Form) -> Form:
    return (form + form.mH) / 2


def size(form: Form, logarithms: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
    """T with 2 T above the form everywhere, as `quadratic.multiplier` has it."""
    sizes = torch.exp(logarithms)
    scaled = sizes.rsqrt()[:, None] * form * sizes.rsqrt()
    return sizes * torch.linalg.eigvalsh(adjoint_sum(scaled))[:, -1].max() * 0.5 * (1 + torch.exp(margin))


def complement(form: Form, t: torch.Tensor) -> Form:
    return adjoint_sum(torch.linalg.inv(torch.diag_embed(2 * t).to(form.dtype) - form))


def backward(layers: list[np.ndarray], pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> list[Form]:
    """The forms of Theorem 32 when folded frequencies are taken one by one."""
    cells, head = CELLS, torch.from_numpy(layers[-1]).to(torch.complex128)
    form = torch.zeros(cells**2, head.shape[1], head.shape[1], dtype=head.dtype)
    form[0] = head.T @ head * (81 / 64**2)
    forms = []
    for at in reversed(range((len(layers) - 2) // 2)):
        first, second = layers[1 + 2 * at], layers[2 + 2 * at]
        t = size(form, *pairs[2 * at + 2])
        form = t[:, None] * complement(form, t) * t
        forms.append(form)
        w = symbol(second, cells)
        pulled = w.mH @ form
        inner = size(carried := adjoint_sum(pulled @ w), *pairs[2 * at + 1])
        back = complement(carried, inner)
        forms.append(inner[:, None] * back * inner)
        step = len(first) // first.shape[1]
        past = torch.eye(*first.shape[:2], dtype=head.dtype) / step
        if step == 2:
            fold = torch.arange(2 * cells) % cells
            fold = (fold[:, None] * cells + fold).flatten()
            form, pulled, back, cells = form[fold], pulled[fold], back[fold], 2 * cells
            past = past.roll((len(first) - first.shape[1]) // 2, 0)
        cross = inner[:, None] * symbol(first, cells) / step + pulled @ past
        form = adjoint_sum(past.mH @ form @ past + cross.mH @ back @ cross)
    t = size(form, *pairs[0])
    return [t[:, None] * complement(form, t) * t, *reversed(forms)]


def covariance(errors: np.ndarray) -> Form:
    """What local errors have at each frequency, moved to the nearest of the coarser grid."""
    side = errors.shape[-1]
    full, cells = 9 * side // 8, CELLS * side // 8
    waves = torch.fft.fft2(torch.from_numpy(errors), s=(full, full), norm="ortho").flatten(2)
    near = torch.round(torch.arange(full) * cells / full).long() % cells
    parts = torch.einsum("nif,njf->fij", waves, waves.conj()) / len(errors)
    return torch.zeros(cells**2, *parts.shape[1:], dtype=parts.dtype).index_add_(
        0, (near[:, None] * cells + near).flatten(), parts
    )


def search(layers: list[np.ndarray], errors: list[np.ndarray], start: Multipliers, seconds: float) -> list:
    """Adam on the logarithm of the bound; the best round is returned."""
    pairs = [(torch.tensor(a).requires_grad_(), torch.tensor(b).double().requires_grad_()) for a, b in start]
    moments = [covariance(e) for e in errors]
    optimizer = torch.optim.Adam([p for pair in pairs for p in pair], lr=RATE)
    least, best, begin = float("inf"), pairs, time.process_time()
    while (spent := (time.process_time() - begin) / seconds) < 1:
        optimizer.param_groups[0]["lr"] = RATE * (1 - spent)
        optimizer.zero_grad()
        squares = [torch.einsum("fij,fji->", *both).real for both in zip(backward(layers, pairs), moments, strict=True)]
        value = torch.stack(squares).clamp_min(1e-300).sqrt().sum()
        if value.item() < least:
            least, best = value.item(), [(a.detach().clone(), b.detach().clone()) for a, b in pairs]
            print(f"{spent:4.0%}  {least:.4g}", flush=True)
        value.log().backward()
        optimizer.step()
    return best


def affine(graph: Graph) -> list[tuple[int, Affine]]:
    return [(node.inputs[0], node.op) for node in graph.nodes if isinstance(node.op, Affine)]


def main(data: Path, sparsity: float, seconds: float) -> None:
    torch.set_num_threads(1)
    network = load(data / "models/akamaster-resnet-cifar10/resnet20-12fca82f.th")
    x, _ = images(data / "datasets/cifar10-lossless/train_first4000.npz", IMAGES)
    dense, pruned = trace(network, x[:1]), trace(magnitude_pruned(network, sparsity), x[:1])
    values = dense.values(x.numpy())
    pairs = list(zip(affine(dense), affine(pruned), strict=True))
    errors = [before.minus(after)(values[at]) for (at, before), (_, after) in pairs[:-1]]
    layers = [after.weight for _, (_, after) in pairs]
    start = read(RESULTS) if RESULTS.exists() else [(np.zeros(len(w)), 0.0) for w in layers[:-1]]
    write(RESULTS, search(layers, errors, start, seconds))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
