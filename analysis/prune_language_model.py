"""What does pruning do to a language model, one that was trained here on text that everyone with Python has?

A Llama of 0.9 million weights, its tokens bytes, trained in a few minutes on one core on the source of the standard
library, every eighth file held out. Pruned block by block, calibrated on windows of the training text, and judged on
windows drawn independently from the held-out files: by perplexity; by the byte after each window, where tier G bounds
how often the dense model alone guesses it; and layer by layer (Theorem 36), of which the record is that of the layer
with the largest bound. Writes analysis/results/prune_language_model.jsonl; a run that is stopped goes on where it was.

    python analysis/prune_language_model.py [--method "support search"] [--sparsity 0.8]
"""

import argparse
import hashlib
import math
import platform
import sysconfig
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy

from lqtheory.models import Data
from lqtheory.perplexity import LanguageBench
from lqtheory.pruning.recipe import Recipe
from lqtheory.sweep import sweep

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "analysis" / "results" / "prune_language_model.jsonl"
WEIGHTS = ROOT / "build" / "language_model.safetensors"
BYTES, CONTEXT, WIDTH, INNER, BLOCKS, HEADS = 256, 128, 128, 384, 4, 8
STEPS, BATCH, RATE, WARMUP, DECAY = 2000, 16, 3e-3, 100, 0.1
CALIBRATION, WINDOWS, HELD_OUT, SEED = 128, 512, 8, 2026
SPARSITIES, SHARES = (0.5, 0.6, 0.7, 0.8, 0.9), (0.125, 0.25, 0.5, 0.75)
METHODS = {
    "support search": Recipe(fit="support-search"),
    "support search, the same density in every layer": Recipe(budget="layer", fit="support-search"),
    "magnitude, least squares": Recipe(),
    "Wanda, least squares": Recipe(score="wanda", budget="uniform"),
    "SparseGPT": Recipe(budget="layer", fit="block-surgeon"),
    "Wanda": Recipe(score="wanda", budget="uniform", fit=None),
    "LAMP": Recipe(score="lamp", fit=None),
    "magnitude": Recipe(fit=None),
}
OF_HEADS = {
    "heads by least squares": Recipe(score="surgeon", pattern="heads"),
    "heads by magnitude, least squares": Recipe(pattern="heads"),
    "heads by magnitude": Recipe(pattern="heads", fit=None),
}


@dataclass(frozen=True)
class Text:
    """The source of the standard library: modules that are one file each, every `HELD_OUT`-th by name held out."""

    folder: Path = Path(sysconfig.get_path("stdlib"))

    @cached_property
    def files(self) -> list[bytes]:
        """By name."""
        return [path.read_bytes() for path in sorted(self.folder.glob("*.py"))]

    @property
    def train(self) -> torch.Tensor:
        """The files to learn from, as bytes."""
        return self.of([file for k, file in enumerate(self.files) if k % HELD_OUT != HELD_OUT - 1])

    @property
    def held_out(self) -> torch.Tensor:
        """The others."""
        return self.of(self.files[HELD_OUT - 1 :: HELD_OUT])

    @property
    def name(self) -> str:
        """Which Python it is of, and the start of its SHA-256."""
        digest = hashlib.sha256(b"".join(self.files)).hexdigest()
        return f"standard library of Python {platform.python_version()}, {len(self.files)} files, SHA-256 {digest[:16]}"

    @staticmethod
    def of(files: list[bytes]) -> torch.Tensor:
        """One after another."""
        return torch.from_numpy(np.frombuffer(b"".join(files), np.uint8).astype(np.int64))


def windows(text: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Independent windows of the text, each a context and the byte after it."""
    starts = torch.randint(len(text) - CONTEXT, (count,), generator=generator)
    return text[starts[:, None] + torch.arange(CONTEXT + 1)]


def network() -> nn.Module:
    """A small Llama with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=BYTES,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS,
        max_position_embeddings=2 * CONTEXT,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config)


def train(model: nn.Module, text: torch.Tensor, steps: int) -> None:
    """AdamW with a warm-up and a cosine, each step on `BATCH` windows; prints the loss."""
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.95), weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min((k + 1) / WARMUP, (1 + math.cos(math.pi * k / steps)) / 2)
    )
    for step in range(steps):
        rows = windows(text, BATCH, generator)
        loss = cross_entropy(model(rows[:, :-1]).logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: {loss.item():.3f} nats", flush=True)


def trained(text: Text, weights: Path, steps: int) -> nn.Module:
    """The network, trained unless there is a file of its weights."""
    model = network()
    if weights.exists():
        model.load_state_dict(load_file(weights))
    else:
        train(model, text.train, steps)
        weights.parent.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), weights)
    return model.eval().requires_grad_(False)


def bench(weights: Path, steps: int) -> LanguageBench:
    """The network, windows of the held-out files, and windows of the others for calibration."""
    text, generator = Text(), torch.Generator().manual_seed(SEED + 1)
    model = trained(text, weights, steps)
    calibration = windows(text.train, CALIBRATION, generator)[:, :-1]
    rows = windows(text.held_out, WINDOWS, generator)
    held = Data(f"{text.name}: {WINDOWS} windows of {CONTEXT} bytes of held-out files", rows[:, :-1], rows[:, -1])
    digest = hashlib.sha256(b"".join(p.numpy().tobytes() for p in model.state_dict().values())).hexdigest()
    return LanguageBench(model, held, calibration, facts={"steps": steps, "trained": digest[:16]})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--method", action="append", choices=[*METHODS, *OF_HEADS])
    parser.add_argument("--sparsity", action="append", type=float)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the trained network is kept")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    networks = {"Llama on bytes": partial(bench, given.weights, given.steps)}
    for methods, shares in ((METHODS, SPARSITIES), (OF_HEADS, SHARES)):
        chosen = {name: recipe for name, recipe in methods.items() if name in (given.method or methods)}
        for point, found in sweep(networks, chosen, given.sparsity or shares, path=given.output):
            about = found[0].setting
            print(f"{point.key:80}{about['perplexity']:.3f} of {about['dense_perplexity']:.3f}", flush=True)


if __name__ == "__main__":
    main()
