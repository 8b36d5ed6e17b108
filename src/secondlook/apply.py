"""One attack, or one purifier, applied to a folder of a user's own images."""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Callable, Iterator, Sequence
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
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.places import at_home, everywhere
from secondlook.progress import Tick
from secondlook.randomness import Keys
from secondlook.threat import LEVELS, Threat

BATCH = 16
MOST = 10_000
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
        label: the target; of an untargeted attack, the answer to the clean image.
        before: score of ``label`` on the clean image: a cosine, or a classifier's score.
        after: the same on the adversarial, as the PNG holds it.
        success: whether the target now ranks first among the candidates, or the clean answer no more.
        already: whether the target ranked first on the clean image, so that nothing was left to attack.
        clean: the PNG of the clean image as the model is given it; empty where that is the source's own size.
    """

    file: str
    source: str
    label: str
    before: float
    after: float
    success: bool
    already: bool = False
    clean: str = ""


def as_classifier(model: Embedder | Classifier, target: str | None, others: Sequence[str]) -> Classifier:
    """The model as a classifier among the target, where there is one, and what else the image might be.

    Raises:
        InvalidInput: a classifier that has no class of the target's name, or two; an embedder that
            does not know a word, to which the target and another text are one, or that has
            neither a target nor two other texts.
    """
    if isinstance(model, Embedder):
        if target is None:
            return _among(model, others)
        _check_words(model, (target, *others))
        return ZeroShot(model, (target, *others) if others else (target, ANYTHING_ELSE))
    if not isinstance(model, Classifier):
        raise InvalidInput(f"{_called(model)} neither embeds nor classifies images; try scenes:clip")
    if target is None:
        return model
    if target not in model.classes:
        known = ", ".join(model.classes[:8])
        raise InvalidInput(f"{model.name} has no class {target!r}; it has {known} …")
    if model.classes.count(target) > 1:
        raise InvalidInput(f"{model.name} has {model.classes.count(target)} classes {target!r}; give each its own name")
    return model


def _among(model: Embedder, names: Sequence[str]) -> Classifier:
    if len(names) < 2:
        raise InvalidInput(
            "without a target it has to be said what the images may be taken for; write --other cat --other dog, or "
            "give a folder with a sub-folder for each class"
        )
    _check_words(model, names)
    return ZeroShot(model, tuple(names))


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
    clear = len({path.with_suffix("") for path in files}) == len(files)
    return [f"{(path.with_suffix('') if clear else path).as_posix()}.png" for path in files]


def _found(folder: Path, out: Path, notify: Callable[[str], None]) -> list[Path]:
    """The images of a folder and of those in it, but for what was written; no link leads out of it.

    What is passed over is told.
    """
    place, files = out.resolve(), images.find(folder, deep=True)
    if folder.resolve() in place.parents:
        files = [path for path in files if place not in path.resolve().parents]
    if not files:
        raise InvalidInput(f"no images in {folder} but those in {out}, where this writes; put some there")
    refuse_links(files, (folder,), named=False)
    if passed_over := images.left_out(folder, out):
        notify(f"of {folder}, {passed_over}")
    return files


def _relative(files: Sequence[Path], folder: Path) -> list[Path]:
    return [path.relative_to(folder) for path in files]


def _sub_folders(files: Sequence[Path], folder: Path) -> list[str]:
    """The classes, where the images lie in a sub-folder for each, as audits call them."""
    parts = [path.parts[0] for path in _relative(files, folder) if len(path.parts) > 1]
    return list(dict.fromkeys(part.replace("_", " ") for part in parts)) if len(parts) == len(files) else []


def _make_folder(out: Path, folder: Path, files: Sequence[Path], names: Sequence[str]) -> None:
    """Makes the folder that is written to; it is not the one that is read, nor are images written over."""
    if out.resolve() == folder.resolve() or {path.resolve() for path in files} & {(out / n).resolve() for n in names}:
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


def _unsaid(text: str) -> None:
    """Tells nobody."""


def attack_folder(
    folder: Path,
    out: Path,
    *,
    model: Embedder | Classifier,
    attack: Attack,
    threat: Threat,
    target: str | None,
    others: Sequence[str],
    seed: int,
    tick: Tick,
    device: torch.device = CPU,
    notify: Callable[[str], None] = _unsaid,
) -> list[AdversarialFile]:
    """Writes an adversarial PNG of each image, and ``provenance.json`` beside them.

    The attacked resolution is the model's own input, so that no resizing undoes the change; a model
    that takes any size is attacked at the image's own. Where an image is cropped for it, ``notify`` is
    told before, and the clean crop is written beside the adversarial.

    Args:
        folder: images, or a sub-folder of them for each class.
        out: what is written to, with the same sub-folders.
        model: whom to fool.
        attack: how.
        threat: within which bound.
        target: what the model shall see; None takes any other answer than that to the clean image.
        others: what else the images may be; empty takes the names of the sub-folders.
        seed: of the attack's draws.
        tick: told of the progress.
        device: where it is computed.
        notify: told what the user should know before it begins.

    Raises:
        InvalidInput: no folder, no images in it, an image that cannot be read, a bad target.
    """
    files = _found(folder, out, notify)
    others = others or [name for name in _sub_folders(files, folder) if name != target]
    classifier = as_classifier(model, target, others)
    classifier.to(device)
    names = png_names(_relative(files, folder))
    crops = _crops(files, names, classifier, notify)
    _make_folder(out, folder, files, names)
    written: list[AdversarialFile] = []
    for start, clean in _batches(files, classifier.size):
        tick(start, len(files), files[start].name)
        some = slice(start, start + len(clean))
        keys = Keys.of(seed, names[some])
        clean = clean.to(device)
        labels = _labels(classifier, clean, target, names[some])
        x = _attacked(classifier, clean, labels, target is None, attack, threat, keys)
        found = _judged(classifier, clean, x, labels, target is None, names[some], files[some])
        written += _write(found, clean, x, crops, out)
    tick(len(files), len(files), "done")
    about = {"attack": registry.describe(attack), "threat": str(threat), "seed": seed}
    goal = {"goal": "untargeted" if target is None else "targeted", "target": target}
    _provenance(out, written, {**about, "model": model.name, "hash": model.hash, **goal})
    return written


def _crops(
    files: Sequence[Path], names: Sequence[str], classifier: Classifier, notify: Callable[[str], None]
) -> dict[str, str]:
    """For each adversarial that is no change of its whole source: the name of its clean crop."""
    size = classifier.size
    if size is None:
        return {}
    cropped = [name for path, name in zip(files, names, strict=True) if images.extent(path) != tuple(size)]
    if cropped:
        notify(
            f"{classifier.name} sees {size[0]}x{size[1]} pixels: {len(cropped)} of {len(files)} images are cropped "
            "to it first, and each clean crop is written beside its adversarial, as NAME.clean.png"
        )
    crops = {name: f"{name.removesuffix('.png')}.clean.png" for name in cropped}
    if twice := set(crops.values()) & set(names):
        raise InvalidInput(f"{min(twice)} would be both a clean crop and an adversarial; rename the image")
    return crops


def _labels(classifier: Classifier, clean: Tensor, target: str | None, names: Sequence[str]) -> Tensor:
    """The class of the target, or the answer to each clean image, ``[B]``."""
    if target is not None:
        return torch.full((len(clean),), classifier.classes.index(target), device=clean.device)
    return Guarded(classifier).decide(clean, Keys.of(0, names)).scores.argmax(1)


def _attacked(
    classifier: Classifier, clean: Tensor, labels: Tensor, untargeted: bool, attack: Attack, threat: Threat, keys: Keys
) -> Tensor:
    objective: GuardedObjective
    if untargeted:
        objective = UntargetedObjective(goal=Untargeted(truth=labels), victim=Guarded(classifier))
    else:
        vectors = classifier.class_features(labels)
        goal: Goal = Targeted(classes=labels)
        if vectors is not None:
            goal = AlignEmbedding(vectors=vectors, classes=labels)
        objective = GuardedObjective(goal=goal, victim=Guarded(classifier))
    return attack_in_parts(attack, objective, clean, replace(threat, grid=LEVELS), keys).x


def _judged(
    classifier: Classifier,
    clean: Tensor,
    x: Tensor,
    labels: Tensor,
    untargeted: bool,
    names: Sequence[str],
    files: Sequence[Path],
) -> list[AdversarialFile]:
    """What the bare model says of the clean images and of the adversarials."""
    bare, keys = Guarded(classifier), Keys.of(0, names)
    before, after = bare.decide(clean, keys).scores, bare.decide(x, keys).scores
    return [
        AdversarialFile(
            file=names[row],
            source=str(files[row]),
            label=classifier.classes[label],
            before=round(float(before[row, label]), 4),
            after=round(float(after[row, label]), 4),
            success=(int(after[row].argmax()) == label) != untargeted,
            already=int(before[row].argmax()) == label and not untargeted,
        )
        for row, label in enumerate(labels.tolist())
    ]


def _write(
    found: Sequence[AdversarialFile], clean: Tensor, x: Tensor, crops: dict[str, str], out: Path
) -> list[AdversarialFile]:
    """Writes the adversarials and the crops that there are, in their sub-folders."""
    rows = []
    for each, image, crop in zip(found, x, clean, strict=True):
        (out / each.file).parent.mkdir(parents=True, exist_ok=True)
        images.write_png(out / each.file, image.cpu())
        beside = crops.get(each.file, "")
        if beside:
            images.write_png(out / beside, crop.cpu())
        rows.append(replace(each, clean=beside))
    return rows


def purify_folder(
    folder: Path,
    out: Path,
    *,
    purifier: Purifier,
    samples: int,
    seed: int,
    tick: Tick,
    device: torch.device = CPU,
    notify: Callable[[str], None] = _unsaid,
) -> list[Path]:
    """Writes ``samples`` reconstructions of each image, each at the image's own size, in the same sub-folders.

    Files that are no images are passed over, and ``notify`` is told of them.

    Raises:
        InvalidInput: no folder, no images in it, an image that cannot be read, no samples.
    """
    if not 1 <= samples <= MOST:
        raise InvalidInput(f"samples={reprlib.repr(samples)}; write 1 to {MOST:,} reconstructions of each image")
    files = _found(folder, out, notify)
    names, written = png_names(_relative(files, folder)), []
    _make_folder(out, folder, files, names)
    purifier.to(device)
    for start, clean in _batches(files, None):
        tick(start, len(files), files[start].name)
        keys = Keys.of(seed, names[start : start + 1]).repeat(samples)
        with torch.no_grad(), evaluating(purifier.modules):
            made = purifier.purify(clean.to(device).repeat_interleave(samples, 0), keys).cpu()
        for number, image in enumerate(made, start=1):
            suffix = f"-{number}" if samples > 1 else ""
            path = out / f"{names[start].removesuffix('.png')}{suffix}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            images.write_png(path, image)
            written.append(path)
    tick(len(files), len(files), "done")
    return written


def _provenance(out: Path, written: Sequence[AdversarialFile], about: dict[str, Any]) -> None:
    images = [vars(w) | {"source": os.path.relpath(w.source, out)} for w in written]
    content = everywhere({"version": version("secondlook"), **about, "images": images}, at_home)
    write_atomic(out / "provenance.json", f"{json.dumps(content, indent=2, default=str)}\n".encode())
