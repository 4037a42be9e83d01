"""What all torch encoders share: device, precision, fixed batch shapes, quiet loading.

A vector must not depend on the batch its content stood in. Kernels may treat different shapes differently, never
the rows of one shape, so every forward pass has a shape that follows from the content alone: a fixed number of rows
(the last batch is filled up) and, for texts, a length rounded up to a bucket.
"""

import os

# Before the first import of a Hugging Face library: nothing is reported home, and forked workers stay silent.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from flywheel.encoders.protocol import Vectors

Precision = Literal["fp32", "bf16"]
WantedPrecision = Literal["auto", "fp32", "bf16"]

Job = TypeVar("Job")
Result = TypeVar("Result")

WORKERS = 8
ROUND_TOKENS = 16  # padded lengths are multiples of this
TOKENS_PER_BATCH = {"cpu": 512, "cuda": 32_768}
IMAGES_PER_BATCH = {"cpu": 16, "cuda": 128}


def device() -> str:
    """Return where models run: `cuda` if there is one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_precision(wanted: WantedPrecision) -> Precision:
    """Return `wanted`, or for `auto` bf16 where the hardware computes in it, else fp32.

    A processor that only emulates bf16 is slower with it, so AVX512_BF16, AMX or Arm's BF16 must be there.
    """
    if wanted != "auto":
        return wanted
    if device() == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    abilities = torch.cpu.get_capabilities()
    native = any(abilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
    return "bf16" if native else "fp32"


@contextmanager
def inference(precision: Precision) -> Generator[None]:
    """Run a forward pass: no gradients, matrix products in `precision`."""
    where = device()
    mixed: AbstractContextManager[object] = (
        torch.autocast(where, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()
    )
    with torch.inference_mode(), mixed:
        yield


@contextmanager
def quiet() -> Generator[None]:
    """Load a model without progress bars, notes and warnings; settings are put back afterwards."""
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    levels, bars = (logging.get_verbosity(), hub.get_verbosity()), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    hub.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(levels[0])
        hub.set_verbosity(levels[1])
        if bars:
            logging.enable_progress_bar()


def in_parallel(job: Callable[[Job], Result], jobs: Iterable[Job]) -> list[Result]:
    """Run independent jobs, each of a forward pass or so, and return their results in order.

    On a processor each of up to 8 workers computes alone: as fast as one pass on all cores where these are free, and
    ten times faster where other processes hold them, because no core waits for another within a pass.
    """
    if device() != "cpu":
        return [job(each) for each in jobs]
    threads = torch.get_num_threads()
    workers = min(threads, WORKERS)
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
            return list(pool.map(job, jobs))
    finally:
        torch.set_num_threads(threads)  # the workers' setting is also the default of threads to come


def to_tensor(array: NDArray[Any]) -> torch.Tensor:
    """Return `array` as a tensor on the models' device."""
    return cast(Any, torch).from_numpy(array).to(device())


def unit(vectors: NDArray[np.floating[Any]]) -> Vectors:
    """Return the rows of `vectors` (n, d) at unit length; a row of zeros stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, np.float32(1e-12))).astype(np.float32, copy=False)


def length_buckets(lengths: Sequence[int], tokens_per_batch: int) -> Iterator[tuple[int, int, list[int]]]:
    """Yield `(padded length, rows, positions)`: batches of texts with nearly the same number of tokens.

    `rows` is a function of the padded length alone and at least the number of `positions`; the batch has to be
    filled up to it. Shortest texts first, in the given order within a length.
    """
    buckets: dict[int, list[int]] = {}
    for position, length in enumerate(lengths):
        padded = max(ROUND_TOKENS, -(-length // ROUND_TOKENS) * ROUND_TOKENS)
        buckets.setdefault(padded, []).append(position)
    for padded in sorted(buckets):
        rows = max(1, tokens_per_batch // padded)
        for start in range(0, len(buckets[padded]), rows):
            yield padded, rows, buckets[padded][start : start + rows]
