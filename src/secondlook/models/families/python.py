"""The family ``python``: a model that a function of the user's own makes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from secondlook.errors import InvalidInput, UnknownName
from secondlook.models.base import Classifier, Model, ModelFamily
from secondlook.models.identity import source_hash
from secondlook.models.logits import LogitClassifier, class_names, image_size
from secondlook.registry import register

_own: set[str] = set()
"""Names of the modules that were imported at a user's word, and of those that what they make is written in."""


@register("model", "python")
@dataclass(frozen=True, kw_only=True)
class Python(ModelFamily):
    """``python:MODULE:FACTORY`` imports MODULE, from here or installed, and calls FACTORY().

    The factory returns an Embedder, a Classifier, a Purifier, a Captioner or another Model; or an
    ``nn.Module``, or another function from images to logits, with an attribute ``classes`` and
    perhaps ``size``. Such a module is put into eval mode and its parameters are frozen.

    Attributes:
        name: ``MODULE:FACTORY``.
    """

    def load(self) -> Model:
        """The model that the factory makes.

        Raises:
            InvalidInput: no such module, a factory that fails, or one that returns something else.
            UnknownName: the module has no such factory; the nearest names are offered.
        """
        full = f"python:{self.name}"
        module, colon, factory = self.name.partition(":")
        if not (module and colon and factory):
            raise InvalidInput(f"model {full!r} names no factory; write python:MODULE:FACTORY")
        found = imported(full, module)
        with _here_importable():
            build = _find(full, found, factory)
            made = _call(full, build)
        model = _as_model(full, made)
        classes = [type(made), *_parts(made), *_parts(model)]
        _own.update(each.__module__ for each in classes)
        model.code = source_hash([build, *classes])
        return model


@contextmanager
def _here_importable() -> Iterator[None]:
    """The working directory first among the places that modules are imported from."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(here)


def imported(full: str, name: str) -> ModuleType:
    """The module ``name``, from the working directory or installed.

    Raises:
        InvalidInput: there is none, or it fails; ``full`` says in the message who asked for it.
    """
    if name.startswith("."):
        raise InvalidInput(f"{full}: {name!r} is relative to nothing; write the module's whole name")
    try:
        with _here_importable():
            module = importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise InvalidInput(
                f"{full}: no module {error.name!r} in {Path.cwd()} nor installed; run from the folder that holds it"
            ) from None
        raise InvalidInput(f"{full}: importing {name!r} raised {type(error).__name__}: {error}") from error
    except SystemExit as stop:
        raise InvalidInput(f"{full}: importing {name!r} {_ended(stop)}") from stop
    _own.add(name)
    return module


def is_own(path: Path) -> bool:
    """Whether a file is that of a module which a user has named, or of a class of what it made; none is installed."""
    files = {getattr(sys.modules.get(name), "__file__", None) for name in _own}
    return str(path) in files and "site-packages" not in path.parts


def _ended(stop: SystemExit) -> str:
    return f"called sys.exit({stop.code!r}); raise an error where something is wrong, and end no program"


def _find(full: str, module: ModuleType, name: str) -> Callable[[], Any]:
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if key[0] != "_" and callable(value)]
        raise UnknownName(f"factory in {module.__name__!r}:", name, known)
    factory = getattr(module, name)
    if not callable(factory):
        raise InvalidInput(f"{full} is {type(factory).__name__}, no factory; write a function that returns it")
    made: Callable[[], Any] = factory
    return made


def _call(full: str, factory: Callable[[], Any]) -> Any:
    try:
        return factory()
    except Exception as error:
        raise InvalidInput(
            f"{full}() raised {type(error).__name__}: {error}; it is called without arguments"
        ) from error
    except SystemExit as stop:
        raise InvalidInput(f"{full}() {_ended(stop)}") from stop


def _parts(made: Any) -> Iterator[type]:
    """The classes of the networks in what a factory returned."""
    modules = made.modules if isinstance(made, Model) else (made,)
    for module in modules:
        if isinstance(module, nn.Module):
            yield from {type(part) for part in module.modules()}


def _settle(made: Model, key: str, form: Callable[[Any], Any]) -> None:
    """Brings an attribute to its usual form, where it has another one."""
    given = getattr(made, key, None)
    if given is not None and (formed := form(given)) != given:
        setattr(made, key, formed)


def _as_model(full: str, made: Any) -> Model:
    if isinstance(made, Model):
        if not hasattr(made, "name"):
            made.name = full
        _settle(made, "size", lambda size: image_size(size, full))
        if isinstance(made, Classifier):
            _settle(made, "classes", lambda classes: class_names(classes, full))
        return made
    if isinstance(made, type) or not callable(made):
        raise InvalidInput(
            f"{full}() returned {made!r}; return an Embedder, a Classifier, a Purifier, "
            "a Captioner, or an nn.Module with an attribute `classes`"
        )
    if not hasattr(made, "classes"):
        raise InvalidInput(
            f"{full}() returned a {type(made).__name__} without an attribute `classes`; "
            "set it to the names of its logits, in order"
        )
    modules = (_settled(made),) if isinstance(made, nn.Module) else ()
    size = getattr(made, "size", None)
    return LogitClassifier(full, made, made.classes, size=size, modules=modules)


def _settled(network: nn.Module) -> nn.Module:
    """The network in eval mode and frozen; an exported program that it holds takes no call of ``eval``."""
    for part in network.modules():
        part.training = False
    return network.requires_grad_(False)
