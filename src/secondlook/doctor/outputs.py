"""Checks of what the model returns: vectors, texts, logits, purified images."""

from __future__ import annotations

import torch
from torch import Tensor

from secondlook.doctor.gradients import derivatives, gradient
from secondlook.doctor.model import PROBES, ModelUnderTest, Outcome, Status, failed, graded, passed, skipped, warned
from secondlook.models.base import Classifier, Embedder, Purifier

_UNIT, _SUM, _MOVES, _SAME = 1e-3, 1e-4, 1e-3, 1e-6


@torch.no_grad()
def shape(subject: ModelUnderTest) -> Outcome:
    """One row for each image, of as many numbers as there should be."""
    x = subject.images[:3]
    shape = tuple(subject.output(x).shape)
    if subject.kind == "purifier":
        fits, wanted = shape == tuple(x.shape), str(tuple(x.shape))
    else:
        fits, wanted = len(shape) == 2 and shape[0] == 3, "one row for each image"
    if not fits:
        return failed(
            f"3 images have an answer of shape {shape}, not {wanted}",
            "keep dimension 0 for the images: no squeeze(), no mean over it, no fixed batch size",
        )
    if isinstance(subject.model, Classifier):
        return _classes(subject.model.classes, shape[1])
    return passed(f"3 images have an answer of shape {shape}")


def _classes(classes: tuple[str, ...], scores: int) -> Outcome:
    if len(classes) < 2:
        return failed(f"{len(classes)} class(es)", "name two classes or more; a choice needs them")
    if len(classes) != scores:
        return failed(
            f"{scores} scores for {len(classes)} names", "set classes to as many names, in the order of the scores"
        )
    twice = len(classes) - len(set(classes))
    if twice:
        return warned(f"{twice} name(s) come twice", "give each class a name of its own")
    return passed(f"{scores} scores for {len(classes)} classes")


@torch.no_grad()
def vectors(subject: ModelUnderTest) -> Outcome:
    """Embeddings, and the features of a classifier by cosines, have length one."""
    if isinstance(subject.model, Classifier) and not subject.model.cosine:
        return skipped("scores are no cosines")
    off = _length(subject.features(subject.images[: subject.affordable(PROBES)]))
    if off > _UNIT:
        return failed(
            f"vectors are up to {off:.2g} longer or shorter than 1",
            "return F.normalize(vectors, dim=-1), or leave embed() to the base class and write encode_image() alone",
            off=off,
        )
    return passed(f"vectors have length 1 up to {off:.1g}", off=off)


@torch.no_grad()
def texts(subject: ModelUnderTest) -> Outcome:
    """Two texts have two unit vectors, of the images' space, whatever stands beside them."""
    model = subject.model
    assert isinstance(model, Embedder)
    words = subject.task.source.classes[:2] if subject.task else ("cat", "dog on a beach")
    wording = subject.task.source.prompt if subject.task else model.prompt
    said = [wording.replace("{}", word) for word in words]
    read, alone = model.embed_text(said), model.embed_text(said[:1])
    text_width, image_width = read.shape[1], model.embed(subject.images[:1]).shape[1]
    if text_width != image_width:
        return failed(f"texts have {text_width} numbers, images {image_width}", "end both towers in one space")
    if (off := _length(read)) > _UNIT:
        return failed(f"vectors are {off:.2g} off length 1", "return F.normalize(vectors, dim=-1)")
    if float((read[0] - read[1]).norm()) < _SAME:
        return failed(
            f"{said[0]!r} and {said[1]!r} have one vector",
            "look at the tokenizer: an unknown word, a cut or an end token at the wrong place",
        )
    if (moved := float((read[:1] - alone).norm())) > _MOVES:
        return failed(
            f"{said[0]!r} moves by {moved:.2g} beside another text",
            "mask the padding, and take the vector where the text ends",
            moved=moved,
        )
    return passed(f"{text_width} numbers, length 1, two texts apart", width=text_width)


@torch.no_grad()
def logits(subject: ModelUnderTest) -> Outcome:
    """Scores are logits, not the softmax of them."""
    model = subject.model
    assert isinstance(model, Classifier)
    if model.cosine:
        return skipped("scores are cosines")
    scores = model(subject.images[: subject.affordable(PROBES)])
    measured = f"scores from {float(scores.min()):.3g} to {float(scores.max()):.3g}"
    within = bool(((scores >= -_SUM) & (scores <= 1 + _SUM)).all())
    if within and bool(((scores.sum(1) - 1).abs() <= _SUM).all()):
        return failed(
            f"{measured}, each row with sum 1: probabilities",
            "return the logits and leave the softmax out; its gradient vanishes where the model "
            "is certain, and attacks look weaker than they are",
        )
    return passed(measured)


def _length(vectors: Tensor) -> float:
    return float((vectors.norm(dim=-1) - 1).abs().max())


_OUTSIDE, _FAR_OUTSIDE, _SLACK = 0.05, 0.25, 1e-3
_DIFFERS, _FAITHFUL = 1e-4, 0.05
_FINE, _POOR = 20.0, 10.0


@torch.no_grad()
def output_range(subject: ModelUnderTest) -> Outcome:
    """What is reconstructed lies in [0, 1] before it is clamped."""
    shown = subject.affordable(PROBES)
    out = _purifier(subject).reconstruct(subject.images[:shown], subject.keys[:shown])
    low, high = float(out.min()), float(out.max())
    outside = float(((out < -_SLACK) | (out > 1 + _SLACK)).double().mean())
    status: Status = "fail" if outside > _FAR_OUTSIDE else "warn" if outside > _OUTSIDE else "pass"
    return graded(
        status,
        f"pixels from {low:.3g} to {high:.3g}, {outside:.1%} outside [0, 1], on {shown} images",
        "return pixels in [0, 1]: (out + 1) / 2 for a network of [-1, 1], out / 255 for one of "
        "8 bits; what the clamp cuts off has no gradient",
        low=low,
        high=high,
        outside=outside,
    )


@torch.no_grad()
def output_size(subject: ModelUnderTest) -> Outcome:
    """Images of another shape come back at their own."""
    height, width = subject.size
    x = subject.images[:2, :, :, : max(1, width - width // 4)]
    out = _purifier(subject).purify(x, subject.keys[:2])
    measured = f"{x.shape[-2]}x{x.shape[-1]} came back as {'x'.join(map(str, out.shape[2:]))}"
    if out.shape != x.shape:
        return failed(measured, "leave purify() to the base class, which resizes; write reconstruct()")
    return passed(measured)


@torch.no_grad()
def stochastic_flag(subject: ModelUnderTest) -> Outcome:
    """``stochastic`` says whether two draws differ."""
    model, shown = _purifier(subject), subject.affordable(4, passes=2)
    x, keys = subject.images[:shown], subject.keys[:shown]
    first, second = (model.purify(x, keys.fold("draw", draw)) for draw in (0, 1))
    moved = float((first - second).abs().max())
    measured = f"two draws are up to {moved:.2g} apart, and stochastic = {model.stochastic}"
    if (moved > _DIFFERS) == model.stochastic:
        return passed(measured, moved=moved)
    if model.stochastic:
        fix = "set stochastic = False, else votes over equal draws are taken for many"
    else:
        fix = "set stochastic = True, else an attacker takes one draw where several are needed"
    return failed(measured, fix, moved=moved)


def differentiable_flag(subject: ModelUnderTest) -> Outcome:
    """A purifier that has an honest gradient does not hide it."""
    if _purifier(subject).differentiable:
        return skipped("it says True; the two checks of the gradient tell")
    found = gradient(subject, subject.images[:2])
    if found is None or not bool(found.isfinite().all()) or not bool(found.any()):
        return passed("differentiable = False, and no gradient comes through")
    compared = derivatives(subject)
    if compared is None or compared.error > _FAITHFUL:
        return passed("differentiable = False, and the gradient is not the derivative")
    return warned(
        f"differentiable = False, but the gradient is {compared.error:.2g} off the derivative",
        "set differentiable = True; attackers are kept from a gradient that is of use",
        error=compared.error,
    )


@torch.no_grad()
def reconstruction(subject: ModelUnderTest) -> Outcome:
    """How much of a clean image is left."""
    shown = subject.affordable(PROBES)
    x = subject.images[:shown]
    out = subject.output(x, subject.keys[:shown]).double()
    errors = (out - x.double()).square().flatten(1).mean(1).clamp_min(1e-10)
    decibels = float((-10 * errors.log10()).mean())
    status: Status = "fail" if decibels < _POOR else "warn" if decibels < _FINE else "pass"
    return graded(
        status,
        f"PSNR {decibels:.1f} dB over {len(out)} images",
        "look at the range, the order of the colors and the size it was trained at, or lower its "
        "noise; little of the image is left",
        psnr=decibels,
    )


def _purifier(subject: ModelUnderTest) -> Purifier:
    assert isinstance(subject.model, Purifier)
    return subject.model
