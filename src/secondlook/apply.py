"""One attack, or one purifier, applied to a folder of a user's own images."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from secondlook import registry
from secondlook.attacks.base import Attack, attack_in_parts
from secondlook.data import images
from secondlook.data.confined import refuse_links
from secondlook.defenses.guarded import Guarded
from secondlook.drafts import write_atomic
from secondlook.errors import InvalidInput, refusal
from secondlook.models.base import Classifier, Embedder, Purifier, evaluating
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.base import Goal, GuardedObjective
from secondlook.objectives.targeted import AlignEmbedding, Targeted
from secondlook.places import at_home, everywhere
from secondlook.progress import Tick
from secondlook.randomness import Keys
from secondlook.threat import LEVELS, Threat

BATCH = 16
CPU = torch.device("cpu")
ANYTHING_ELSE = "something else"
_NO_WORD = "qzxvkj"
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class AdversarialFile:
    """One adversarial image that was written.

    Attributes:
        file: the PNG's name.
        source: the image it was made of.
        before: score of the target on the clean image: a cosine, or a classifier's score.
        after: the same on the adversarial, as the PNG holds it.
        success: whether the target now ranks first among the candidates.
    """

    file: str
    source: str
    before: float
    after: float
    success: bool


def as_classifier(model: Embedder | Classifier, target: str, others: Sequence[str]) -> Classifier:
    """The model as a classifier among the target and what else the image might be.

    Raises:
        InvalidInput: a classifier that has no class of the target's name, or two; an embedder that
            does not know a word, or to which the target and another text are one.
    """
    if isinstance(model, Embedder):
        _check_words(model, (target, *others))
        return ZeroShot(model, (target, *others) if others else (target, ANYTHING_ELSE))
    if not isinstance(model, Classifier):
        raise InvalidInput(f"{_called(model)} neither embeds nor classifies images; try scenes:clip")
    if target not in model.classes:
        known = ", ".join(model.classes[:8])
        raise InvalidInput(f"{model.name} has no class {target!r}; it has {known} …")
    if model.classes.count(target) > 1:
        raise InvalidInput(f"{model.name} has {model.classes.count(target)} classes {target!r}; give each its own name")
    return model


def _called(model: object) -> str:
    return str(getattr(model, "name", type(model).__name__))


def _check_words(model: Embedder, texts: Sequence[str]) -> None:
    """Refuses words that an embedder takes for any other, and texts that it takes for the target.

    A word is unknown where the text's vector stays the same with a word in its place that no
    language has.
    """
    if not all(text.strip() for text in texts):
        raise InvalidInput("--target and --other must say what the model shall see; write a word or more")
    for text in texts:
        words = text.split()
        other = [" ".join([*words[:at], _NO_WORD, *words[at + 1 :]]) for at in range(len(words))]
        unknown = [word for word, changed in zip(words, other, strict=True) if _same(model, text, changed)]
        if unknown:
            raise InvalidInput(
                f"{model.name} does not know the word {unknown[0]!r} of {text!r}, and takes it for any other; "
                "write words that it was trained on"
            )
    for text in texts[1:]:
        if _same(model, texts[0], text):
            raise InvalidInput(f"{model.name} has one vector for {texts[0]!r} and {text!r}; write another --other")


def _same(model: Embedder, one: str, other: str) -> bool:
    """Whether two texts have one vector, up to rounding; not so where one of them is refused."""
    try:
        first, second = model.embed_text([one, other])
    # A model of a user's own may refuse a word in any way.
    except Exception:
        return False
    return bool((first - second).abs().max() < _ROUNDING)


def png_names(files: Sequence[Path]) -> list[str]:
    """A PNG's name for each file; where some differ by their extension alone, all keep it."""
    clear = len({path.stem for path in files}) == len(files)
    return [f"{path.stem if clear else path.name}.png" for path in files]


def _found(folder: Path) -> list[Path]:
    """The images of a folder, none of which a link leads out of it."""
    files = images.find(folder)
    refuse_links(files, (folder,), named=False)
    return files


def _make_folder(out: Path, folder: Path) -> None:
    """Makes the folder that is written to; it is not the one that is read."""
    if out.resolve() == folder.resolve():
        raise InvalidInput(f"{out} holds the images themselves; write to a folder of its own")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{out} cannot be made: {refusal(error)}") from None


def _batches(files: Sequence[Path], size: tuple[int, int] | None) -> Iterator[tuple[int, Tensor]]:
    """Images in batches of one size each, with the position of the first."""
    step = BATCH if size else 1
    for start in range(0, len(files), step):
        part = files[start : start + step]
        yield start, torch.stack([images.read(path, size) for path in part])


def attack_folder(
    folder: Path,
    out: Path,
    *,
    model: Embedder | Classifier,
    attack: Attack,
    threat: Threat,
    target: str,
    others: Sequence[str],
    seed: int,
    tick: Tick,
    device: torch.device = CPU,
) -> list[AdversarialFile]:
    """Writes an adversarial PNG of each image, and ``provenance.json`` beside them.

    The attacked resolution is the model's own input, so that no resizing undoes the change.

    Raises:
        InvalidInput: no folder, no images in it, an image that cannot be read, a bad target.
    """
    files, classifier = _found(folder), as_classifier(model, target, others)
    classifier.to(device)
    index, names = classifier.classes.index(target), png_names(files)
    _make_folder(out, folder)
    written: list[AdversarialFile] = []
    for start, clean in _batches(files, classifier.size):
        tick(start, len(files), files[start].name)
        keys = Keys.of(seed, names[start : start + len(clean)])
        clean = clean.to(device)
        x = _attacked(classifier, clean, index, attack, threat, keys)
        written += _write(classifier, clean, x, index, names[start:], files[start:], out)
    tick(len(files), len(files), "done")
    about = {"attack": registry.describe(attack), "threat": str(threat), "seed": seed}
    _provenance(out, written, {**about, "model": model.name, "hash": model.hash, "target": target})
    return written


def _attacked(classifier: Classifier, clean: Tensor, index: int, attack: Attack, threat: Threat, keys: Keys) -> Tensor:
    classes = torch.full((len(clean),), index, device=clean.device)
    vectors = classifier.class_features(classes)
    goal: Goal = Targeted(classes=classes)
    if vectors is not None:
        goal = AlignEmbedding(vectors=vectors, classes=classes)
    objective = GuardedObjective(goal=goal, victim=Guarded(classifier))
    return attack_in_parts(attack, objective, clean, replace(threat, grid=LEVELS), keys).x


def _write(
    classifier: Classifier, clean: Tensor, x: Tensor, index: int, names: Sequence[str], files: Sequence[Path], out: Path
) -> list[AdversarialFile]:
    bare, keys = Guarded(classifier), Keys.of(0, names[: len(x)])
    before, after = bare.decide(clean, keys).scores[:, index], bare.decide(x, keys).scores
    rows = []
    for row, image in enumerate(x):
        images.write_png(out / names[row], image.cpu())
        success = int(after[row].argmax()) == index
        rows.append(
            AdversarialFile(
                file=names[row],
                source=str(files[row]),
                before=round(float(before[row]), 4),
                after=round(float(after[row, index]), 4),
                success=success,
            )
        )
    return rows


def purify_folder(
    folder: Path, out: Path, *, purifier: Purifier, samples: int, seed: int, tick: Tick, device: torch.device = CPU
) -> list[Path]:
    """Writes ``samples`` reconstructions of each image, each at the image's own size.

    Raises:
        InvalidInput: no folder, no images in it, an image that cannot be read, no samples.
    """
    if samples < 1:
        raise InvalidInput(f"samples={samples} leaves nothing to write; write 1 or more")
    files = _found(folder)
    names, written = png_names(files), []
    _make_folder(out, folder)
    purifier.to(device)
    for start, clean in _batches(files, None):
        tick(start, len(files), files[start].name)
        keys = Keys.of(seed, names[start : start + 1]).repeat(samples)
        with torch.no_grad(), evaluating(purifier.modules):
            made = purifier.purify(clean.to(device).repeat_interleave(samples, 0), keys).cpu()
        for number, image in enumerate(made, start=1):
            suffix = f"-{number}" if samples > 1 else ""
            path = out / f"{Path(names[start]).stem}{suffix}.png"
            images.write_png(path, image)
            written.append(path)
    tick(len(files), len(files), "done")
    return written


def _provenance(out: Path, written: Sequence[AdversarialFile], about: dict[str, Any]) -> None:
    images = [vars(w) | {"source": os.path.relpath(w.source, out)} for w in written]
    content = everywhere({"version": version("secondlook"), **about, "images": images}, at_home)
    write_atomic(out / "provenance.json", f"{json.dumps(content, indent=2, default=str)}\n".encode())
