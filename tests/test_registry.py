"""The list of what there is: found by name, built from strings, and closed to impostors."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from secondlook import registry
from secondlook.errors import InvalidInput, UnknownName


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the lists, so that what a test registers does not outlive it."""
    kinds: tuple[registry.Kind, ...] = ("attack", "defense", "model", "data", "task")
    for kind in kinds:
        registry.names(kind)
    for kind in registry._entries:
        registry.names(kind)
    copies = {kind: dict(entries) for kind, entries in registry._entries.items()}
    monkeypatch.setattr(registry, "_entries", copies)


@dataclass(frozen=True, kw_only=True)
class Made:
    """Says the first sentence. Then another one,
    on two lines.

    And a paragraph that nobody asked for.
    """

    steps: int = 10
    norm: Literal["linf", "l2"] = "linf"
    strict: bool = False
    model: Any = field(default=None, metadata={"runtime": True})


def test_what_there_is() -> None:
    assert {"pgd", "illusion"} <= set(registry.names("attack"))
    assert {"undefended", "consensus", "jpeg", "noise"} <= set(registry.names("defense"))
    assert registry.names("attack") == sorted(registry.names("attack"))


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("attack", "ilusion", "unknown attack 'ilusion'; did you mean illusion"),
        ("defense", "concensus", "unknown defense 'concensus'; did you mean consensus"),
        ("attack", "zzz", "unknown attack 'zzz'; there is: .*illusion.*pgd"),
    ],
)
def test_an_unknown_name_gets_the_nearest(kind: registry.Kind, name: str, says: str) -> None:
    with pytest.raises(UnknownName, match=says):
        registry.find(kind, name)


def test_an_outside_class_is_found_and_described(shelf: None) -> None:
    assert registry.register("attack", "made")(Made) is Made
    assert registry.find("attack", "made") is Made
    assert "made" in registry.names("attack")
    assert registry.summary("attack", "made") == "Says the first sentence. Then another one, on two lines."


def test_strings_become_the_types_of_the_fields(shelf: None) -> None:
    registry.register("attack", "made")(Made)
    config = {"steps": "3", "norm": "l2", "strict": "true"}
    made = registry.build("attack", "made", config, model="at run time")
    assert made == Made(steps=3, norm="l2", strict=True, model="at run time")
    described = {"name": "made", "steps": 3, "norm": "l2", "strict": True}
    assert registry.describe(made) == described
    assert registry.digest(described) != registry.digest({**described, "steps": 4})
    assert registry.digest(described) == registry.digest(dict(reversed(described.items())))


@pytest.mark.parametrize(
    ("config", "error", "says"),
    [
        ({"step": 3}, UnknownName, "unknown field of attack 'made': 'step'; did you mean steps"),
        ({"model": 3}, UnknownName, "unknown field of attack 'made': 'model'"),
        ({"steps": "many"}, InvalidInput, "made.steps='many': .*integer"),
        ({"steps": 2.5}, InvalidInput, "made.steps=2.5: .*integer"),
        ({"norm": "l1"}, InvalidInput, "made.norm='l1': .*'linf' or 'l2'"),
    ],
)
def test_a_bad_setting_is_named(shelf: None, config: dict[str, Any], error: type[Exception], says: str) -> None:
    registry.register("attack", "made")(Made)
    with pytest.raises(error, match=says):
        registry.build("attack", "made", config)


def test_a_name_belongs_to_one_class(shelf: None) -> None:
    with pytest.raises(InvalidInput, match="attack 'pgd' is PGD already; choose a name"):
        registry.register("attack", "pgd")(Made)
    own = registry.find("attack", "pgd")
    namesake = dataclass(type("PGD", (), {"__module__": "elsewhere"}))
    with pytest.raises(InvalidInput, match="already"):
        registry.register("attack", "pgd")(namesake)
    assert registry.register("attack", "pgd")(own) is own
    registry.register("defense", "pgd")(Made)


def test_only_dataclasses_have_settings(shelf: None) -> None:
    with pytest.raises(InvalidInput, match="put @dataclass below @register"):
        registry.register("attack", "plain")(type("Plain", (), {}))
