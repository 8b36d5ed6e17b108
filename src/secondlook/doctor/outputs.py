"""Checks of the answers' form: vectors, texts, scores, logits."""

from __future__ import annotations

import torch
from torch import Tensor

from secondlook.doctor.outcome import Outcome, failed, passed, skipped, warned
from secondlook.doctor.patient import PROBES, Patient
from secondlook.models.base import Classifier, Embedder

_UNIT, _SUM, _MOVES, _SAME = 1e-3, 1e-4, 1e-3, 1e-6


@torch.no_grad()
def form(patient: Patient) -> Outcome:
    """One row for each image, of as many numbers as there should be."""
    x = patient.images[:3]
    shape = tuple(patient.answer(x).shape)
    if patient.kind == "purifier":
        fits, wanted = shape == tuple(x.shape), str(tuple(x.shape))
    else:
        fits, wanted = len(shape) == 2 and shape[0] == 3, "one row for each image"
    if not fits:
        return failed(
            f"3 images have an answer of shape {shape}, not {wanted}",
            "keep dimension 0 for the images: no squeeze(), no mean over it, no fixed batch size",
        )
    if isinstance(patient.model, Classifier):
        return _classes(patient.model.classes, shape[1])
    return passed(f"3 images have an answer of shape {shape}")


def _classes(classes: tuple[str, ...], scores: int) -> Outcome:
    if len(classes) < 2:
        return failed(f"{len(classes)} class(es)", "name two classes or more; a choice needs them")
    if len(classes) != scores:
        return failed(
            f"{scores} scores for {len(classes)} names",
            "set classes to as many names, in the order of the scores",
        )
    twice = len(classes) - len(set(classes))
    if twice:
        return warned(f"{twice} name(s) come twice", "give each class a name of its own")
    return passed(f"{scores} scores for {len(classes)} classes")


@torch.no_grad()
def vectors(patient: Patient) -> Outcome:
    """Embeddings, and the features of a classifier by cosines, have length one."""
    if isinstance(patient.model, Classifier) and not patient.model.cosine:
        return skipped("scores are no cosines")
    off = _length(patient.features(patient.images[: patient.some(PROBES)]))
    if off > _UNIT:
        return failed(
            f"vectors are up to {off:.2g} longer or shorter than 1",
            "return F.normalize(vectors, dim=-1), or leave embed() to the base class and write "
            "encode_image() alone",
            off=off,
        )
    return passed(f"vectors have length 1 up to {off:.1g}", off=off)


@torch.no_grad()
def texts(patient: Patient) -> Outcome:
    """Two texts have two unit vectors, of the images' space, whatever stands beside them."""
    model = patient.model
    assert isinstance(model, Embedder)
    words = patient.task.source.classes[:2] if patient.task else ("cat", "dog on a beach")
    wording = patient.task.source.prompt if patient.task else model.prompt
    said = [wording.replace("{}", word) for word in words]
    read, alone = model.embed_text(said), model.embed_text(said[:1])
    wide, seen = read.shape[1], model.embed(patient.images[:1]).shape[1]
    if wide != seen:
        return failed(f"texts have {wide} numbers, images {seen}", "end both towers in one space")
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
    return passed(f"{wide} numbers, length 1, two texts apart", width=wide)


@torch.no_grad()
def logits(patient: Patient) -> Outcome:
    """Scores are logits, not the softmax of them."""
    model = patient.model
    assert isinstance(model, Classifier)
    if model.cosine:
        return skipped("scores are cosines")
    scores = model(patient.images[: patient.some(PROBES)])
    measured = f"scores from {float(scores.min()):.3g} to {float(scores.max()):.3g}"
    within = bool(((scores >= -_SUM) & (scores <= 1 + _SUM)).all())
    if within and bool(((scores.sum(1) - 1).abs() <= _SUM).all()):
        return failed(
            f"{measured}, each row with sum 1: probabilities",
            "return the logits and leave the softmax away; its gradient vanishes where the model "
            "is certain, and attacks look weaker than they are",
        )
    return passed(measured)


def _length(vectors: Tensor) -> float:
    return float((vectors.norm(dim=-1) - 1).abs().max())
