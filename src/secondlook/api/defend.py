"""A model with a defense around it, called like the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from secondlook import registry
from secondlook.api.subject import FunctionClassifier, Subject, as_model, classifier
from secondlook.defenses.base import Defense
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.stack import Stack
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier, Embedder
from secondlook.signals import IMAGE, Signal, SignalName, signal as named_signal


def defend(
    model: Subject,
    defense: str | Defense | Sequence[str | Defense] = "consensus",
    *,
    classes: Sequence[str] | None = None,
    signal: SignalName = "image",
    **settings: Any,
) -> Guarded:
    """A model behind a defense: ``guarded(x).outputs``, ``.accepted`` and ``.suspicion``.

    Args:
        model: an ``nn.Module`` or another function from pixels ``[B, C, H, W]`` in [0, 1] to
            logits, a name such as ``scenes:classifier``, or a model of this package: a classifier,
            an embedder or a captioner.
        defense: a name, see ``secondlook defenses``, or a defense such as ``sl.Jpeg(quality=50)``; of
            several a :class:`~secondlook.defenses.stack.Stack` is made.
        classes: the names of the classes: they make a zero-shot classifier of an embedder, and a
            defense needs them that asks a second model by name.
        signal: what a network or function of your own takes: an ``image``, or a ``sound``, ``[B, T]``
            in [-1, 1].
        settings: of the defense, where it is given by name, or of the stack.

    Raises:
        UnknownName: no such model, defense or setting; the nearest are offered.
        InvalidInput: the model is none, a setting does not fit, or the defenses make no stack.

    Example:
        ``defend(net, "jpeg", quality=75)`` or ``defend(net, ["jpeg", "multishield"])``
    """
    several = list(defense) if isinstance(defense, list | tuple) else [defense]
    if not several:
        raise InvalidInput("defense=[] names no defense; write 'jpeg', or several for a stack")
    made = as_model(model, classes, named_signal(signal))
    if classes is not None and isinstance(made, Embedder):
        made = classifier(made, classes)
    built = _built(several[0], settings) if len(several) == 1 else Stack(stack=several, **settings)
    try:
        return Guarded(made, built)
    except InvalidInput as error:
        if not isinstance(made, FunctionClassifier) or made.classes:
            raise
        raise InvalidInput(f"{error}; the classes of {made.name} have no names yet, write classes=[...]") from None


def guarded(model: Subject | Guarded, classes: Sequence[str] | None = None, signal: Signal = IMAGE) -> Guarded:
    """The guarded classifier that ``model`` is; a bare one is undefended.

    Raises:
        InvalidInput: it names no classes.
    """
    if not isinstance(model, Guarded):
        return Guarded(classifier(model, classes, signal))
    if not isinstance(model.model, Classifier):
        raise InvalidInput(
            f"{model.model.name} behind its defense names no classes; write sl.defend(model, defense, classes=[...])"
        )
    return model


def _built(defense: object, settings: dict[str, Any]) -> Defense:
    """The defense.

    Raises:
        UnknownName, InvalidInput: it is none, or has no such setting.
    """
    if isinstance(defense, str):
        made: Defense = registry.build("defense", defense, settings)
        return made
    if isinstance(defense, type):
        raise InvalidInput(f"defense={defense.__name__} is a class; write {defense.__name__}()")
    if not isinstance(defense, Defense):
        raise InvalidInput(f"defense={defense!r} is no defense; write 'jpeg' or sl.Jpeg()")
    if settings:
        raise InvalidInput(f"{', '.join(settings)} beside a defense that is made already; write them into it")
    return defense
