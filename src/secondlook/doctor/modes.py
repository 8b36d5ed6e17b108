"""Checks that one question has one answer: modes, repetition, company, and what is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from secondlook.doctor.outcome import Outcome, failed, passed, skipped, warned
from secondlook.doctor.patient import Patient
from secondlook.models.base import Model

_REPEATED, _ALONE = 1e-6, 1e-3


def networks(patient: Patient) -> Outcome:
    """Networks are listed in ``modules`` and come in eval mode."""
    hidden = [name for name, part in _unlisted(patient.model) if part.training]
    if hidden:
        return failed(
            f"{', '.join(hidden)} is in training mode and not in modules, so that nobody ends it",
            "set modules = (network,) in __init__, and call network.eval()",
        )
    if patient.training:
        return warned(
            f"{len(patient.training)} parts in training mode, {patient.training[0]} among them",
            "call network.eval(); an attack does it for its search, others may not",
            training=len(patient.training),
        )
    hashed = type(patient.model).hash is Model.hash
    unlisted = [name for name, part in _unlisted(patient.model) if hashed and part.state_dict()]
    if unlisted:
        return warned(
            f"{', '.join(unlisted)} is not in modules: its weights are not in the model's hash",
            "set modules = (network,) in __init__",
        )
    if not patient.modules:
        return passed("it lists no networks, and has none in training mode")
    return passed(f"{len(patient.modules)} network(s) listed, all in eval mode")


@torch.no_grad()
def repeatable(patient: Patient) -> Outcome:
    """The same question twice has the same answer."""
    x = patient.images[: patient.some(4, passes=2)]
    first, second = (patient.answer(x) for _ in range(2))
    off = _off(first, second)
    measured = f"two answers differ by {off:.1g} of their length at most"
    if off <= _REPEATED:
        return passed(measured, difference=off)
    mend = "draw all randomness from keys, never from a global generator"
    if patient.kind != "purifier":
        mend = "list the networks in modules so that dropout ends in eval mode; draw nothing inside"
    return failed(measured, mend, difference=off)


@torch.no_grad()
def company(patient: Patient) -> Outcome:
    """An image has the same answer alone and among others."""
    shown = patient.some(4, passes=2)
    x, keys = patient.images[:shown], patient.keys[:shown]
    together = patient.answer(x, keys)
    alone = torch.cat([patient.answer(x[i : i + 1], keys[i : i + 1]) for i in range(len(x))])
    off = _off(together, alone)
    measured = f"alone and in a batch of {len(x)}, answers differ by {off:.1g} of their length"
    if off <= _ALONE:
        return passed(measured, difference=off)
    return failed(
        measured,
        "take nothing over the batch: BatchNorm in eval mode, no mean over dimension 0, no view() "
        "that mixes images, one key for each image",
        difference=off,
    )


def untouched(patient: Patient) -> Outcome:
    """A question leaves the parameters' ``.grad`` alone, and asks for none."""
    held = [p for module in patient.modules for p in module.parameters()]
    if not held:
        return skipped("no parameters are listed in modules")
    before = [None if p.grad is None else p.grad.clone() for p in held]
    x = patient.images[:2].clone().requires_grad_()
    out = patient.answer(x)
    if out.requires_grad:
        torch.autograd.grad(out.sum(), x, allow_unused=True)
    moved = sum(not _same(p.grad, old) for p, old in zip(held, before, strict=True))
    if moved:
        return failed(
            f".grad of {moved} of {len(held)} parameters has changed",
            "call torch.autograd.grad(loss, x) where the model takes a gradient, not backward()",
            moved=moved,
        )
    free = sum(p.requires_grad for p in held)
    if free:
        return warned(
            f"{free} of {len(held)} parameters ask for gradients that nobody reads",
            "call network.requires_grad_(False); it saves memory and time",
            free=free,
        )
    return passed(f"{len(held)} parameters, frozen and left alone")


def _unlisted(model: Model) -> Iterator[tuple[str, nn.Module]]:
    listed = {id(part) for module in model.modules for part in module.modules()}
    for name, value in vars(model).items():
        several: Any = value if isinstance(value, list | tuple) else (value,)
        for part in several:
            if isinstance(part, nn.Module) and id(part) not in listed:
                yield name, part


def _off(first: Tensor, second: Tensor) -> float:
    first, second = first.double().flatten(1), second.double().flatten(1)
    scale = first.norm(dim=1).mean().clamp_min(1e-12)
    return float((first - second).norm(dim=1).max() / scale)


def _same(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)
