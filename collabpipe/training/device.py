"""Where a training runs and how it is held to the same numbers."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from collabpipe.common.errors import CollabpipeError

M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1
"""From glibc's malloc.h."""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED", "could not create a primitive")
"""How torch, CUDA, cuDNN and oneDNN report it; only some of their errors have a class of their own."""


def choose_device() -> torch.device:
    """The first visible GPU, else the CPU."""
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def describe(device: torch.device) -> str:
    """The device's name for records."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def keep_freed_memory() -> None:
    """Have the C library keep what a step frees for the next step, where it can be told to (glibc).

    It returns every block above 32 MiB, as an activation of ResNet-18 is, to the system, which fills it with zeros page
    by page when it is wanted again: a quarter of a step's time on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def be_deterministic(threads: int) -> None:
    """Make equal inputs give equal bits on the same machine: deterministic kernels, a fixed number of threads."""
    keep_freed_memory()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    # The same as use_deterministic_algorithms(True), which imports torch's compiler for 1.5 seconds.
    torch.set_deterministic_debug_mode("error")
    # Nothing here reads memory that it has not written; filling it first took 8% of a small step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    # float32 in a recipe means float32: cuDNN's default would round convolutions to TF32.
    torch.backends.cudnn.allow_tf32 = False


def messages(error: BaseException | None) -> Iterator[str]:
    """The messages of an error and of those that it followed on."""
    while error is not None:
        yield str(error)
        error = error.__context__


def out_of_memory(error: BaseException) -> str | None:
    """What an error says of memory that was not enough; None if it says nothing of it."""
    # A step that is being captured as a graph ends with another error, whose context this one is.
    return next((said for said in messages(error) if any(words in said for words in OUT_OF_MEMORY)), None)


@contextmanager
def enough_memory(place: str) -> Iterator[None]:
    """Tell with remedies that the device's memory was not enough for what is done within, at `place`.

    Raises:
        CollabpipeError: it was not enough.
    """
    try:
        yield
    except RuntimeError as error:
        said = out_of_memory(error)
        if said is None:
            raise
        why = said.splitlines()[0].removesuffix(".")
        raise CollabpipeError(
            f"{place}: the memory of the device is not enough: {why}. What was saved is kept, and the same command "
            "continues from there. Let fewer trainings share a GPU (execution.jobs_per_gpu), or wait until other "
            "programs leave it (nvidia-smi names them). If one training alone does not fit, lower training.batch_size: "
            "that is another study, which trains from the beginning."
        ) from None
