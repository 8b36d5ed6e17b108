"""Class names of two models, matched with each other by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from secondlook.errors import InvalidInput, UnknownName


def plain(name: str) -> str:
    """A class name without case, underscores and synonyms.

    Example:
        >>> plain("Tench, Tinca tinca"), plain("golden_retriever")
        ('tench', 'golden retriever')
    """
    return name.split(",")[0].lower().replace("_", " ").strip()


def renamed(classes: Sequence[str], labels: Mapping[str, str]) -> tuple[str, ...]:
    """The classes under the names that ``labels`` gives to some of them.

    Raises:
        UnknownName: a key of ``labels`` is none of the classes; the nearest are offered.
    """
    known = {plain(name) for name in classes}
    for key in labels:
        if plain(key) not in known:
            raise UnknownName("class in labels", key, classes)
    other = {plain(key): name for key, name in labels.items()}
    return tuple(other.get(plain(name), name) for name in classes)


def places(ours: Sequence[str], theirs: Sequence[str], labels: Mapping[str, str], who: str) -> tuple[int, ...]:
    """Where each of our classes stands among theirs, ``[K]``.

    Args:
        ours: the classes in the order wanted.
        theirs: the classes in the order of the other model's scores.
        labels: their name for a class of ours, where it is another one.
        who: the other model, for the message.

    Raises:
        InvalidInput: a class on either side has no partner, or more than one.
        UnknownName: a key of ``labels`` is none of our classes.
    """
    called = renamed(ours, labels)
    if called == tuple(theirs):
        return tuple(range(len(theirs)))
    wanted, found = [plain(name) for name in called], [plain(name) for name in theirs]
    if twice := _twice(wanted) or _twice(found):
        raise InvalidInput(
            f"{_few(twice)} is the name of several classes, and cannot be matched with {who}; "
            "give both models the same class names in the same order"
        )
    lost = [name for name, key in zip(ours, wanted, strict=True) if key not in found]
    spare = [name for name, key in zip(theirs, found, strict=True) if key not in wanted]
    if lost or spare:
        raise InvalidInput(
            f"{len(lost)} class(es) without a partner in {who}: {_few(lost)}; {len(spare)} of "
            f"{who} without one here: {_few(spare)}; write labels = {{OURS = THEIRS, ...}}"
        )
    return tuple(found.index(key) for key in wanted)


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _few(names: Sequence[str]) -> str:
    """The first five of the names, as a message shows them."""
    shown = ", ".join(map(repr, names[:5])) or "none"
    return f"{shown}, …" if len(names) > 5 else shown
