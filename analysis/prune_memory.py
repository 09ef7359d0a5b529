"""How much memory does pruning take beside the network, block by block and as a whole?

Transformers of 2, 8 and 24 blocks of width 256, pruned and re-fitted block by block in place on 64 rows of 128 tokens;
a ResNet-56 as a whole on 1,000 images. Weights and inputs are random, which memory does not mind. Every network has a
process of its own, whose peak is read from /proc (Linux): once as it is, and once with an allocator that gives back at
once what is freed, so that only what is held counts. Writes analysis/results/prune_memory.jsonl.

    python analysis/prune_memory.py
"""

import argparse
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from cifar_resnet import ResNet
from torch import nn

from lqtheory.pruning.blocks import by_blocks
from lqtheory.pruning.recipe import Recipe
from lqtheory.records import Provenance

RESULTS = Path(__file__).parent / "results" / "prune_memory.jsonl"
BLOCKS, WIDTH, ROWS, LENGTH, IMAGES = (2, 8, 24), 256, 64, 128, 1000
GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}
MEGABYTE = 2**20


def resident(what: str) -> int:
    """What the system says of this process: VmRSS is its memory now, VmHWM the largest it was."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(what)))


def beside(prune: Callable[[], object]) -> tuple[int, int]:
    """Bytes before, and how much more they were at most while a function ran."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the largest from now on
    before = resident("VmRSS")
    prune()
    return before, resident("VmHWM") - before


def transformer(blocks: int) -> tuple[nn.Module, torch.Tensor]:
    """A Llama without training."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=WIDTH,
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=blocks,
        num_attention_heads=8,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config), torch.randint(WIDTH, (ROWS, LENGTH))


def measured(network: str) -> dict[str, float]:
    """What magnitude pruning with the re-fit takes, in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    recipe, blocks = Recipe(), 0 if network == "ResNet-56" else int(network.split()[0])
    model, inputs = transformer(blocks) if blocks else (ResNet(9).float().eval(), torch.randn(IMAGES, 3, 32, 32))
    with torch.no_grad():
        model(inputs[:1])
    way = by_blocks if blocks else lambda *given, inplace: recipe(model, refit=inputs, inplace=inplace)
    before, more = beside(lambda: way(model, recipe, inputs, inplace=True))
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return {"weights_mb": weights / MEGABYTE, "before_mb": before / MEGABYTE, "peak_mb": more / MEGABYTE}


def in_a_process(network: str, environment: Mapping[str, str]) -> dict[str, float]:
    """The same in a new process."""
    command = [sys.executable, __file__, "--only", network]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", metavar="NETWORK", help="one, in this process, printed")
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(measured(given.only)))
        return
    rows = []
    for network in (*(f"{k} blocks" for k in BLOCKS), "ResNet-56"):
        found = in_a_process(network, {})
        found["held_mb"] = in_a_process(network, GIVING_BACK)["peak_mb"]
        rows.append({"network": network, **found, **asdict(Provenance(0))})
        print(f"{network:12}", *(f"{key} {value:.0f}" for key, value in found.items()), flush=True)
    given.output.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
