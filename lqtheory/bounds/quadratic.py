r"""A residual convolutional network as one operator: quadratic forms that say what an error costs at the output.

A form $U$ at the pre-activations of a layer is a certificate if $\|\hat g(z)-\hat g(z-e)\|^2\le e^\top Ue$ for all z
and e, $\hat g$ being what the pruned network does from there on. Forms are pulled backward through ReLUs with one
multiplier per channel (S-procedure); what is translation invariant is a matrix per frequency. Multipliers may come
from anywhere: every step is checked by a Cholesky factor (Theorem 10), with what was lost to rounding taken off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Complex128, Float64

from .nodes import Affine
from .rounding import EPS, up, up_each

Forms = Complex128[np.ndarray, "f m m"]
SLACK = 1e-5  # of every form, so that exact Schur complements pass the check
Multipliers = Sequence[tuple[Float64[np.ndarray, " channels"], float]]


@dataclass(frozen=True, eq=False)
class Residual:
    """relu(shortcut(x) + second(relu(first(x)))), the shortcut being the identity or option A (slices and zeros)."""

    first: Affine
    second: Affine


@dataclass(frozen=True, eq=False)
class Lattice:
    r"""Circular grids of `coarse` $2^k$ cells per axis; a frequency of the coarsest stands for all its aliases.

    An image of side $s$ lies in a grid of side at least $s+1$ with zeros around it, so that 3 x 3 convolutions never
    meet the other side. Of two conjugate frequencies one is kept, with `weights` 2.
    """

    coarse: int

    @property
    def frequencies(self) -> list[tuple[int, int]]:
        """One of each conjugate pair."""
        pairs = product(range(self.coarse), range(self.coarse))
        return [(a, b) for a, b in pairs if (a, b) <= (-a % self.coarse, -b % self.coarse)]

    @property
    def weights(self) -> Float64[np.ndarray, " f"]:
        """How many frequencies each stands for."""
        return np.array([1.0 if pair == tuple(-k % self.coarse for k in pair) else 2.0 for pair in self.frequencies])

    def aliases(self, level: int) -> np.ndarray:
        """Frequencies [f, level^2, 2] of the grid of coarse * level cells."""
        shifts = self.coarse * np.array(list(product(range(level), repeat=2)))
        return np.array(self.frequencies)[:, None] + shifts

    def convolution(self, kernel: np.ndarray, level: int, stride: int) -> np.ndarray:
        """The matrices of a centered convolution from the grid of `level` (to the next coarser one), per frequency."""
        turns = self.aliases(level) / (self.coarse * level)
        steps = [np.arange(k) - k // 2 for k in kernel.shape[2:]]
        taps = [np.exp(2j * np.pi * turns[..., axis, None] * step) for axis, step in enumerate(steps)]
        symbol = np.einsum("oiyx,fay,fax->faoi", kernel, *taps, optimize=True)
        return self._placed(symbol, level, stride)

    def mass(self, kernel: np.ndarray, level: int, stride: int) -> np.ndarray:
        """What the entries of `convolution` can be at most, at any frequency: sums of magnitudes over the taps."""
        most = np.broadcast_to(np.abs(kernel).sum(axis=(2, 3)), (1, level**2, *kernel.shape[:2]))
        return np.abs(self._placed(most, level, stride)[0])

    def shortcut(self, before: int, after: int, level: int, stride: int) -> np.ndarray:
        """The identity, or every other pixel with channels of zeros before and behind."""
        inner = np.eye(after, before, -((after - before) // 2))
        return self._placed(np.broadcast_to(inner, (*self.aliases(level).shape[:2], after, before)), level, stride)

    def spectrum(self, e: np.ndarray) -> Complex128[np.ndarray, "f n m"]:
        """Unitary Fourier transform of errors [n, channels, side, side], aliases side by side."""
        level = self.level(e.shape[-1])
        full = np.fft.fft2(e, s=(self.coarse * level,) * 2, norm="ortho")
        at = self.aliases(level)
        picked = full[:, :, at[..., 0], at[..., 1]]  # n c f a
        return picked.transpose(2, 0, 3, 1).reshape(len(at), len(e), -1)

    def level(self, side: int) -> int:
        """Which grid an image of this side lies in."""
        return 2 ** max(0, int(np.ceil(np.log2((side + 1) / self.coarse))))

    def _placed(self, symbol: np.ndarray, level: int, stride: int) -> np.ndarray:
        """Blocks on the diagonal; with stride 2, aliases of the coarse frequency are averaged (unitarily: half)."""
        f, many, out, channels = symbol.shape
        fine, low = list(product(range(level), repeat=2)), list(product(range(level // stride), repeat=2))
        placed = np.zeros((f, len(low), out, many, channels), dtype=np.complex128)
        for n, (a, b) in enumerate(fine):
            placed[:, low.index((a % (level // stride), b % (level // stride))), :, n] = symbol[:, n] / stride
        return placed.reshape(f, len(low) * out, many * channels)


@dataclass(frozen=True, eq=False)
class Certificate:
    """The forms at the pre-activations of the stem and of both convolutions of every block, in order."""

    forms: tuple[Forms, ...]
    lattice: Lattice

    def cost(self, at: int, e: Float64[np.ndarray, "n channels side side"]) -> Float64[np.ndarray, " n"]:
        r"""$\sqrt{e^\top Ue}$ of errors made at one place, for every input, rounded up."""
        form, waves = self.forms[at], self.lattice.spectrum(e)
        squares = np.einsum("fni,fij,fnj,f->n", waves.conj(), form, waves, self.lattice.weights, optimize=True).real
        size = np.einsum("nchw,nchw->n", e, e)
        # the transform moves e by less than 64 eps of its norm; then sums of m^2 terms
        hidden = (8 * form.shape[-1] + 512) * EPS * self.largest(at) ** 2 * size
        return up_each(np.sqrt(np.maximum(squares, 0.0) + hidden), 16)

    def largest(self, at: int) -> float:
        """An upper bound of the square root of the norm of a form."""
        return up(float(np.max(np.linalg.norm(self.forms[at], axis=(1, 2)))) ** 0.5, 4 * self.forms[at].shape[-1])


def certificate(
    blocks: Sequence[Residual], head: np.ndarray, cells: int, side: int, multipliers: Multipliers
) -> Certificate:
    r"""Theorem 32: forms for a stem ReLU, residual blocks, the mean over `cells` and the matrix `head`.

    `side` is that of the last image. `multipliers` hold (logarithms of relative sizes per channel, logarithm of a
    margin) for the ReLU of the stem and both of every block. Raises ValueError when a check fails.
    """
    lattice = Lattice(side + 1)
    level = [2 ** sum(block.first.stride[0] == 2 for block in blocks[at + 1 :]) for at in range(len(blocks))]
    form = np.zeros((len(lattice.frequencies), head.shape[1], head.shape[1]), dtype=np.complex128)
    # the mean of what is zero outside of the image is its zero frequency
    form[0] = (head.T @ head + 128 * EPS * np.sum(head**2) * np.eye(head.shape[1])) * ((side + 1) ** 2 / cells**2)
    forms = []
    for at in reversed(range(len(blocks))):
        block, stride = blocks[at], blocks[at].first.stride[0]
        outer, inner = multipliers[2 * at + 2], multipliers[2 * at + 1]
        form = _through_relu(form, multiplier(form, *outer))
        forms.append(form)
        second = lattice.convolution(block.second.weight, level[at], 1)
        first = lattice.convolution(block.first.weight, level[at] * stride, stride)
        after, before = block.first.weight.shape[:2]
        past = lattice.shortcut(before, after, level[at] * stride, stride)
        masses = [
            lattice.mass(block.second.weight, level[at], 1),
            lattice.mass(block.first.weight, level[at] * stride, stride),
        ]
        form, own = _through_block(form, past, first, second, masses, inner)
        forms.append(own)
    forms.append(_through_relu(form, multiplier(form, *multipliers[0])))
    return Certificate(tuple(reversed(forms)), lattice)


def multiplier(form: Forms, logarithms: np.ndarray, margin: float) -> Float64[np.ndarray, " m"]:
    r"""T with $2T\succ Q$ at every frequency, of the relative sizes given; nothing depends on how well."""
    sizes = np.tile(np.exp(logarithms), form.shape[-1] // len(logarithms))
    root = np.sqrt(sizes)
    top = np.linalg.eigvalsh(form / root[:, None] / root)[:, -1].max()
    return sizes * top * 0.5 * (1 + np.exp(margin))


def _through_relu(form: Forms, t: np.ndarray) -> Forms:
    r"""$U$ with $x^*Qx+2\,\mathrm{Re}\,(u-x)^*Tx\le u^*Uu$: Schur complement, then checked."""
    inner = _diagonal(2 * t) - form
    found = _fattened(t[:, None] * np.linalg.inv(_diagonal(2 * t * (1 - SLACK)) - form) * t)
    side = np.broadcast_to(np.diag(t).astype(np.complex128), form.shape)
    check_positive(found, -side, inner, 4 * EPS * (np.abs(form) + np.diag(2 * t)))
    return found


def _through_block(
    form: Forms, past: np.ndarray, first: np.ndarray, second: np.ndarray, masses: list[np.ndarray], relative: tuple
) -> tuple[Forms, Forms]:
    """The form at the input of a block, and that of errors made between its two convolutions, from the one behind."""
    pulled = np.conj(np.swapaxes(second, 1, 2)) @ form
    carried = _hermitian(pulled @ second)
    t = multiplier(carried, *relative)
    inner, tight = _diagonal(2 * t) - carried, np.linalg.inv(_diagonal(2 * t * (1 - SLACK)) - carried)
    cross = t[:, None] * first + pulled @ past
    direct = _hermitian(np.conj(np.swapaxes(past, 1, 2)) @ form @ past)
    found = _fattened(direct + np.conj(np.swapaxes(cross, 1, 2)) @ tight @ cross)
    own = _fattened(t[:, None] * tight * t)
    # sums of m terms twice, and symbols that are rounded themselves: relative to sums of magnitudes
    loss, size = (8 * len(t) + 256) * EPS, np.abs(form)
    lost_inner = loss * (masses[0].T @ size @ masses[0] + np.diag(2 * t))
    lost_cross = loss * (masses[0].T @ size @ np.abs(past) + t[:, None] * masses[1])
    lost_outer = loss * (np.swapaxes(np.abs(past), 1, 2) @ size @ np.abs(past))
    lost_outer = lost_outer + 4 * EPS * np.abs(found)
    check_positive(found - direct, -np.conj(np.swapaxes(cross, 1, 2)), inner, lost_inner, lost_outer, lost_cross)
    check_positive(own, -np.broadcast_to(np.diag(t).astype(np.complex128), carried.shape), inner, lost_inner)
    return found, own


def check_positive(
    upper: np.ndarray,
    side: np.ndarray,
    lower: np.ndarray,
    lost_lower: np.ndarray,
    lost_upper: np.ndarray | float = 0.0,
    lost_side: np.ndarray | float = 0.0,
) -> None:
    r"""Raise ValueError unless $\begin{pmatrix}A&B\\B^*&C\end{pmatrix}\succeq0$ for all A, B, C this near.

    After scaling to a unit diagonal, by the backward error of Cholesky and Gershgorin's bound of what was lost.
    """
    a, c = (np.einsum("fii->fi", block).real for block in (upper, lower))
    if not (np.all(a > 0) and np.all(c > 0)):
        raise ValueError("a form must be positive, got a diagonal that is not; try other multipliers.")
    a, c = 1 / np.sqrt(a), 1 / np.sqrt(c)
    whole = np.concatenate(
        [
            np.concatenate([a[:, :, None] * upper * a[:, None], a[:, :, None] * side * c[:, None]], axis=2),
            np.concatenate(
                [np.conj(np.swapaxes(a[:, :, None] * side * c[:, None], 1, 2)), c[:, :, None] * lower * c[:, None]],
                axis=2,
            ),
        ],
        axis=1,
    )
    cross = a[:, None] * lost_side * c[:, :, None]  # [f, lower, upper]
    gaps = [
        np.sum(a[:, :, None] * lost_upper * a[:, None], axis=2) + np.sum(cross, axis=1),
        np.sum(c[:, :, None] * lost_lower * c[:, None], axis=2) + np.sum(cross, axis=2),
    ]
    n = whole.shape[1]
    gap = 1.01 * max(float(np.max(part)) for part in gaps) + 8 * n * (n + 8) * EPS
    try:
        np.linalg.cholesky(whole - gap * np.eye(n))
    except np.linalg.LinAlgError as error:
        raise ValueError("a form must be certified, got one that fails its check; try other multipliers.") from error


def _fattened(form: np.ndarray) -> Forms:
    """Hermitian, with a little more on the diagonal."""
    form = _hermitian(form)
    diagonal = np.einsum("fii->fi", form).real
    return form + SLACK * _diagonal(diagonal + 1e-6 * diagonal.max(axis=1, keepdims=True))


def _hermitian(form: np.ndarray) -> np.ndarray:
    return (form + np.conj(np.swapaxes(form, 1, 2))) / 2


def _diagonal(values: np.ndarray) -> np.ndarray:
    return values[..., None] * np.eye(values.shape[-1])
