"""Time and memory of one model on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor

from secondlook.doctor.differences import gradient
from secondlook.doctor.patient import Patient
from secondlook.errors import SecondlookError
from secondlook.randomness import Keys

BATCHES: Final = (1, 8, 32)
_REPEATS, _SECONDS, _PATIENCE = 3, 3.0, 10.0
_SHARE = 0.5
"""Of the memory that is free: what one batch may take."""


class Pass(NamedTuple):
    """What one batch took, per image.

    Attributes:
        batch: its size.
        forward: seconds.
        gradient: seconds of a forward with the gradient to the pixels; NaN where there is none.
    """

    batch: int
    forward: float
    gradient: float


def passes(patient: Patient, held: int) -> tuple[list[Pass], list[str]]:
    """What each batch size took, and the reasons of those that were left out.

    Args:
        patient: the model.
        held: bytes that an image holds for its gradient.
    """
    taken: list[Pass] = []
    for batch in BATCHES:
        x = patient.images[torch.arange(batch) % len(patient.images)]
        if (free := room()) < held * batch:
            need = held * batch / 2**20
            return taken, [f"batch {batch} left out: {need:.0f} of {free / 2**20:.0f} MiB"]
        if taken and batch * max(taken[-1].forward, taken[-1].gradient) > _PATIENCE:
            return taken, [f"batch {batch} left out: more than {_PATIENCE:g} s a pass"]
        try:
            taken.append(timed(patient, x))
        except SecondlookError:
            raise
        except (MemoryError, RuntimeError) as error:
            return taken, [f"batch {batch} left out: {str(error).splitlines()[0]}"]
    return taken, []


def timed(patient: Patient, x: Tensor) -> Pass:
    """Both passes of the batch ``x``; the median of as many as a few seconds have room for."""
    keys = patient.keys[torch.arange(len(x)) % len(patient.keys)]

    def forward() -> None:
        with torch.no_grad():
            patient.answer(x, keys)

    def climb() -> None:
        reached.append(_climbed(patient, x, keys) is not None)

    reached: list[bool] = []
    alone, climbed = _seconds(forward) / len(x), _seconds(climb) / len(x)
    return Pass(len(x), alone, climbed if reached[0] else float("nan"))


def _climbed(patient: Patient, x: Tensor, keys: Keys) -> Tensor | None:
    x = x.detach().requires_grad_()
    out = patient.answer(x, keys)
    if not out.requires_grad:
        return None
    return torch.autograd.grad(out.sum(), x, allow_unused=True)[0]


def held_bytes(patient: Patient) -> int:
    """Bytes that autograd holds for one image, its parameters left out."""
    ours = {p.untyped_storage().data_ptr() for m in patient.modules for p in m.parameters()}
    seen: dict[int, int] = {}

    def note(saved: Tensor) -> Tensor:
        store = saved.untyped_storage()
        if store.data_ptr() not in ours:
            seen[store.data_ptr()] = store.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        gradient(patient, patient.images[:1].clone())
    return sum(seen.values())


def room() -> float:
    """Bytes that a batch may take, of the accelerator that is in use, else of the machine."""
    if torch.cuda.is_initialized():
        return _SHARE * torch.cuda.mem_get_info()[0]
    told = Path("/proc/meminfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    kibibytes = [line.split()[1] for line in lines if line.startswith("MemAvailable")]
    return _SHARE * 1024 * float(kibibytes[0]) if kibibytes else float("inf")


def _seconds(act: Callable[[], object]) -> float:
    """One run; the first, which warms up, is counted only where it is the last, too."""
    taken: list[float] = []
    while len(taken) <= _REPEATS and sum(taken) < _SECONDS:
        start = time.perf_counter()
        act()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:] or taken)
