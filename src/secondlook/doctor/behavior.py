"""Checks of how the model takes images: range, passes, modes, repetition, batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from secondlook.doctor.model import ModelUnderTest, Outcome, failed, passed, skipped, warned
from secondlook.ledger import counting
from secondlook.models.base import Model

_SEE = "begin features(), or whatever takes the pixels, with x = self.checked_input(x)"


@torch.no_grad()
def accepts_unit_range(subject: ModelUnderTest) -> Outcome:
    """All of [0, 1] has an answer in numbers: images, black and white."""
    shown = torch.cat([subject.images[:2], *_flat(subject, 0, 1)])
    out = subject.output(shown, subject.keys[: len(shown)])
    lost = float((~out.isfinite()).double().mean())
    measured = f"images, black and white at {subject.size[0]}x{subject.size[1]}"
    if lost:
        return failed(
            f"{lost:.0%} of the answers are NaN or infinite",
            "look for a division by a spread or a norm that is 0 on a flat image, for half "
            "precision, and for damaged weights",
            lost=lost,
        )
    return passed(measured, lost=0.0)


@torch.no_grad()
def rejects_other_ranges(subject: ModelUnderTest) -> Outcome:
    """Pixels in 0 to 255, and normalized ones, are refused and not silently taken."""
    x = torch.cat([subject.images[:1], *_flat(subject, 0, 1)])
    wrong = {"0 to 255": x * 255, "normalized": (x - 0.5) / 0.25}
    taken = [name for name, pixels in wrong.items() if not _refused(subject, pixels)]
    if taken:
        return failed(f"took pixels {' and '.join(taken)} without a word", _SEE)
    return passed(f"refused pixels {' and '.join(wrong)}")


def counts_passes(subject: ModelUnderTest) -> Outcome:
    """One image is one forward and at most one backward in the ledger."""
    x = subject.images[:2].clone().requires_grad_()
    with counting() as ledger:
        out = subject.output(x)
        if out.requires_grad:
            torch.autograd.grad(out.sum(), x, allow_unused=True)
    forwards, backwards = (n / len(x) for n in (ledger.forwards, ledger.backwards))
    measured = f"{forwards:g} forward(s) and {backwards:g} backward(s) an image"
    if not forwards:
        return failed(f"{measured}: the costs of an audit would be 0", _SEE)
    return passed(measured, forwards=forwards, backwards=backwards)


def _flat(subject: ModelUnderTest, *levels: float) -> list[Tensor]:
    return [torch.full_like(subject.images[:1], level) for level in levels]


def _refused(subject: ModelUnderTest, x: Tensor) -> bool:
    try:
        subject.output(x, subject.keys[: len(x)])
    # A user's model may refuse with an error of its own.
    except Exception:
        return True
    return False


_REPEATED, _ALONE = 1e-6, 1e-3


def eval_mode(subject: ModelUnderTest) -> Outcome:
    """Networks are listed in ``modules`` and come in eval mode."""
    hidden = [name for name, part in _unlisted(subject.model) if part.training]
    if hidden:
        return failed(
            f"{', '.join(hidden)} is in training mode and not in modules, so that nobody ends it",
            "set modules = (network,) in __init__, and call network.eval()",
        )
    if subject.training:
        return warned(
            f"{len(subject.training)} parts in training mode, {subject.training[0]} among them",
            "call network.eval(); an attack does it for its search, others may not",
            training=len(subject.training),
        )
    hashed = type(subject.model).weights_hash is Model.weights_hash
    unlisted = [name for name, part in _unlisted(subject.model) if hashed and part.state_dict()]
    if unlisted:
        return warned(
            f"{', '.join(unlisted)} is not in modules: its weights are not in the model's hash",
            "set modules = (network,) in __init__",
        )
    if not subject.modules:
        return passed("it lists no networks, and has none in training mode")
    return passed(f"{len(subject.modules)} network(s) listed, all in eval mode")


@torch.no_grad()
def repeatable(subject: ModelUnderTest) -> Outcome:
    """The same question twice has the same answer."""
    x = subject.images[: subject.affordable(4, passes=2)]
    first, second = (subject.output(x) for _ in range(2))
    off = _off(first, second)
    measured = f"two answers differ by {off:.1g} of their length at most"
    if off <= _REPEATED:
        return passed(measured, difference=off)
    fix = "draw all randomness from keys, never from a global generator"
    if subject.kind != "purifier":
        fix = "list the networks in modules so that dropout ends in eval mode; draw nothing inside"
    return failed(measured, fix, difference=off)


@torch.no_grad()
def batch_independence(subject: ModelUnderTest) -> Outcome:
    """An image has the same answer alone and among others."""
    shown = subject.affordable(4, passes=2)
    x, keys = subject.images[:shown], subject.keys[:shown]
    together = subject.output(x, keys)
    alone = torch.cat([subject.output(x[i : i + 1], keys[i : i + 1]) for i in range(len(x))])
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


def parameters_untouched(subject: ModelUnderTest) -> Outcome:
    """A call leaves the parameters' ``.grad`` alone, and requires none."""
    held = [p for module in subject.modules for p in module.parameters()]
    if not held:
        return skipped("no parameters are listed in modules")
    before = [None if p.grad is None else p.grad.clone() for p in held]
    x = subject.images[:2].clone().requires_grad_()
    out = subject.output(x)
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
            f"{free} of {len(held)} parameters require gradients that are not used",
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
