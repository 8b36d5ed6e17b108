"""Every public name and every registered class is found in ``secondlook``, and loaded late."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import secondlook as sl
from secondlook import registry

EVERY = [(kind, name, registry.find(kind, name)) for kind in get_args(registry.Kind) for name in registry.names(kind)]


def declared() -> dict[str, str]:
    """The names that type checkers are told of, with their modules."""
    tree = ast.parse(Path(str(sl.__file__)).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }


@pytest.mark.parametrize(("kind", "name", "cls"), EVERY, ids=[f"{k} {n}" for k, n, _ in EVERY])
def test_a_registered_class_is_found_and_typed(kind: str, name: str, cls: type) -> None:
    assert getattr(sl, cls.__name__) is cls
    if cls.__module__.startswith("secondlook."):
        assert declared()[cls.__name__] == cls.__module__


def test_the_names_of_registered_classes_are_used_once() -> None:
    ours = {cls for _, _, cls in EVERY}
    assert len({cls.__name__ for cls in ours}) == len(ours)


@pytest.mark.parametrize("name", sl.__all__)
def test_a_public_name_is_found_and_typed(name: str) -> None:
    assert getattr(sl, name).__name__ == name
    assert declared()[name] == sl._HOMES[name]


def test_all_are_listed() -> None:
    assert {*sl.__all__, *(cls.__name__ for _, _, cls in EVERY)} <= set(dir(sl))


def test_a_name_that_is_none_is_an_attribute_error_and_offers_some() -> None:
    with pytest.raises(AttributeError, match="has no 'APGDD'; .*attack"):
        _ = sl.APGDD
    assert not hasattr(sl, "nothing")


@pytest.mark.parametrize("code", ["import secondlook", "import secondlook.cli"])
def test_importing_is_light(code: str) -> None:
    heavy = "[m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules]"
    command = [sys.executable, "-c", f"import sys; {code}; print({heavy})"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
