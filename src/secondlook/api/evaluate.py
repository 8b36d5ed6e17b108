"""A whole audit of what a user holds in memory: every defense, every attack, what each knows."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from secondlook import registry
from secondlook.api.inputs import radius
from secondlook.api.memory import DataInMemory, MemorySource, ModelInMemory, collected
from secondlook.api.subject import FunctionClassifier, Subject, as_model, classifier, home
from secondlook.attacks.base import Attack
from secondlook.audit.api import run_study
from secondlook.audit.study import parse
from secondlook.data import load as load_data
from secondlook.data.base import Source
from secondlook.defenses.base import Defense
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier, Embedder, Model, evaluating
from secondlook.progress import progress as bar
from secondlook.schema import Audit
from secondlook.threat import LEVELS, Knowledge, Norm

Named = str | Mapping[str, Any] | Attack | Defense
"""A name, a table of a name and settings, or the attack or defense itself."""


@torch.inference_mode(False)
def evaluate(
    model: Subject,
    data: Any,
    *,
    attacks: Named | Sequence[Named] = ("autoattack",),
    defenses: Named | Sequence[Named] = ("undefended",),
    eps: float | str | Sequence[float | str],
    norm: Norm = "linf",
    knowledge: Sequence[Knowledge] = ("clean", "oblivious", "adaptive"),
    surrogates: Sequence[str] = (),
    samples: int = 0,
    seed: int = 0,
    draws: int = 1,
    rescore: int = 3,
    resubmitted: int = 0,
    certified: int = 0,
    batch_size: int = 50,
    classes: Sequence[str] | None = None,
    title: str = "",
    device: str | None = None,
    progress: bool = True,
) -> Audit:
    """Audits a model under each defense and attack, as ``secondlook audit`` does a study.

    Images go onto the grid of an 8-bit file first, and so do adversarials. ``audit.show()`` prints
    the table, ``audit.to_pandas()`` gives it, ``audit.save(folder)`` keeps the run with its page.

    Args:
        model: as of :func:`~secondlook.api.attack.attack`.
        data: a pair ``(x, y)``; a ``DataLoader`` or data set of such pairs; or a source by name,
            ``scenes:test`` or ``folder:PATH``.
        attacks: names, tables such as ``{"name": "apgd", "steps": 20}``, or attacks.
        defenses: names, tables or defenses; ``undefended`` is the model alone.
        eps: the radius in pixel units, or several.
        norm: ``linf``, ``l2`` or ``l1``.
        knowledge: what attackers know: nothing of the defense (``oblivious``), another model only
            (``transfer``, see ``surrogates``), or all of it (``adaptive``).
        surrogates: models by name, which an attacker has who knows no more.
        samples: how many of the first samples; 0 takes all.
        seed: of all random draws.
        draws: fresh draws of a randomized defense in each step of an attack.
        rescore: fresh decisions of a randomized defense on each input.
        resubmitted: how often each attacked input is sent again to a randomized defense, for the curve
            of the chance that one of k tries gets through; 0 for none.
        certified: draws of the certificate of each input behind a defense that begins with Gaussian
            noise, at no attack and at attacks in L2; 0 for none.
        batch_size: samples that are attacked together.
        classes: the names of the classes, which an embedder needs for data in memory.
        title: of the report.
        device: where models and images are put; by default where your network is.
        progress: whether what takes over two seconds shows a bar.

    Raises:
        UnknownName: no such attack, defense, setting, model or source; the nearest are offered.
        InvalidInput: something does not fit; the message says what to write.

    Example:
        ``evaluate(net, loader, attacks=["apgd", "square"], defenses=["jpeg"], eps=8 / 255)``
    """
    each = [eps] if isinstance(eps, str | float | int) else list(eps)
    made = as_model(model, classes)
    with ExitStack() as stack:
        name = stack.enter_context(_found(made, data, samples, classes))
        table = {
            "name": "evaluate",
            "title": title,
            "seed": seed,
            "batch": batch_size,
            "rescore": rescore,
            "resubmitted": resubmitted,
            "certified": certified,
            "surrogates": list(surrogates),
            "knowledge": list(knowledge),
            "models": [stack.enter_context(ModelInMemory.holding(made.name, made))],
            "task": {"name": "classification", "data": name, "samples": samples},
            "threat": {"norm": norm, "eps": [radius(one) for one in each]},
            "attacks": [_table(one, {"draws": draws}) for one in _several(attacks)],
            "defenses": [_table(one, {}) for one in _several(defenses)],
        }
        study = parse(table, "evaluate")
        folder = Path(tempfile.mkdtemp(prefix="secondlook-"))
        place = device or str(home(made.modules) or "auto")
        try:
            with bar("evaluating", show=progress, timed=True) as tick:
                audit = run_study(study, folder, None, tick, "secondlook.evaluate", place)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    weakref.finalize(audit, shutil.rmtree, folder, ignore_errors=True)
    return audit.of_run(folder)


def _several(given: Named | Sequence[Named]) -> Sequence[Named]:
    return [given] if isinstance(given, str | Mapping | Attack | Defense) else list(given)


def _table(given: Named, more: Mapping[str, Any]) -> dict[str, Any]:
    """An attack or defense as a study writes it.

    Raises:
        InvalidInput: it is something else.
    """
    if isinstance(given, str):
        return {"name": given, **more}
    if isinstance(given, Mapping):
        return {**more, **given}
    if isinstance(given, Attack | Defense):
        defaults = {key: field.default for key, field in registry.settings(type(given)).items()}
        own = registry.describe(given)
        return {**more, **{key: own[key] for key in own if own[key] != defaults.get(key)}}
    raise InvalidInput(f'{given!r} is no attack or defense; write a name, or a table: {{"name": "apgd", "steps": 20}}')


@contextmanager
def _found(model: Model, data: Any, samples: int, classes: Sequence[str] | None) -> Iterator[str]:
    """The data by a name that a study finds, in the classes of the model."""
    if isinstance(data, str):
        source = load_data(data).labeled()
        _answered(model, source.read([0], getattr(model, "size", None)).images, source.classes)
        yield data
        return
    if isinstance(data, Source):
        source = data.labeled()
        _answered(model, source.read([0], getattr(model, "size", None)).images, source.classes)
    else:
        images, truth = collected(data, samples)
        _answered(model, images[:1].float() / LEVELS, classes)
        own = classifier(model, classes) if isinstance(model, Embedder) else model
        if not isinstance(own, Classifier):
            raise InvalidInput(f"{model.name} neither embeds nor classifies images")
        source = MemorySource(images, truth, own.classes, getattr(model, "prompt", "{}"))
    with DataInMemory.holding(type(data).__name__, source) as name:
        yield name


def _answered(model: Model, image: Any, classes: Iterable[str] | None) -> None:
    """Lets a function say how many classes it has; unnamed ones are called as the data's are."""
    if not isinstance(model, FunctionClassifier):
        return
    unnamed = not model.classes
    with torch.no_grad(), evaluating(model.modules):
        model(image)
    if unnamed and classes is not None:
        model.named(tuple(classes))
