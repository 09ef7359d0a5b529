"""The counting of 16-bit patterns on CUDA devices, by numba.cuda where that is installed (the extra `cuda`).

Each block of threads counts in a table of its own, in its shared memory: additions to one table for all would wait for
one another at the few patterns that most weights have. The 48 KB that every device gives to a block hold 6144
magnitudes of either sign, 48 octaves of bfloat16 or six of float16. Zeros, of which pruned tensors have most, are
counted in registers; what lies outside the window is rare and is added to the total at once.
"""

# the types of device code are not those of Python
# pyright: reportArgumentType=false, reportOptionalSubscript=false, reportCallIssue=false, reportIndexIssue=false

from typing import Any

import numpy as np
from numba import cuda, uint32

WINDOW = 6144
THREADS = 1024
BLOCKS_PER_PROCESSOR = 2


@cuda.jit
def _count_16(words, low, total):
    table = cuda.shared.array(2 * WINDOW, uint32)
    for i in range(cuda.threadIdx.x, 2 * WINDOW, cuda.blockDim.x):
        table[i] = 0
    cuda.syncthreads()
    zeros = 0
    for i in range(cuda.grid(1), words.size, cuda.gridsize(1)):
        word = words[i]
        for k in range(4):
            pattern = np.int32((word >> np.uint64(16 * k)) & np.uint64(0xFFFF))
            magnitude = pattern & 0x7FFF
            place = magnitude - low
            if pattern == 0:
                zeros += 1
            elif 0 <= place < WINDOW:
                cuda.atomic.add(table, place + (pattern >> 15) * WINDOW, uint32(1))
            else:
                cuda.atomic.add(total, pattern, np.uint64(1))
    cuda.syncthreads()
    for i in range(cuda.threadIdx.x, 2 * WINDOW, cuda.blockDim.x):
        if table[i] > 0:
            cuda.atomic.add(total, low + i % WINDOW + (i // WINDOW << 15), np.uint64(table[i]))
    if zeros > 0:
        cuda.atomic.add(total, 0, np.uint64(zeros))


def window(top: int) -> int:
    """The lowest magnitude of the window for weights of which some have the magnitude `top`: little room above it."""
    return min(max(top + WINDOW // 8 - WINDOW, 1), (1 << 15) - WINDOW)


def count_16(words: Any, low: int, total: Any, blocks: int, stream: Any = 0) -> None:
    """Add to `total` [65536, uint64] how often each pattern occurs in words of four, on the device of both."""
    _count_16[blocks, THREADS, stream](words, np.int32(low), total)


def count_tensor_16(stored: Any, low: int, total: Any) -> None:
    """The same for torch tensors of one device: int16 of a size that four divides, at an address that eight does."""
    import torch

    processors = torch.cuda.get_device_properties(stored.device).multi_processor_count
    queue = torch.cuda.current_stream(stored.device).cuda_stream
    with cuda.gpus[stored.device.index]:
        words = cuda.as_cuda_array(stored.view(torch.int64)).view(np.uint64)
        counts = cuda.as_cuda_array(total).view(np.uint64)
        stream = cuda.external_stream(queue) if queue else 0
        count_16(words, low, counts, processors * BLOCKS_PER_PROCESSOR, stream)
