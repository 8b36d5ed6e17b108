"""Numbers and choices of every setting: what is out of bounds is refused in one sentence, whatever way it comes."""

from __future__ import annotations

from dataclasses import MISSING, fields
from functools import partial
from itertools import product
from typing import get_args

import pytest

from secondlook import registry
from secondlook.attacks.apgd import APGD
from secondlook.attacks.illusion import Illusion
from secondlook.attacks.joint.sga import SGA
from secondlook.attacks.pgd import PGD
from secondlook.bounds import Bounds, _Choice, _Number, _settings
from secondlook.defenses.consistency import MagNet
from secondlook.errors import InvalidInput
from secondlook.tasks.retrieval import RetrievalTask
from secondlook.tasks.unlabeled import UnlabeledTask
from secondlook.threat import Threat, fraction

NAN, INF = float("nan"), float("inf")
EVERY = [
    (kind, name, field, setting.kind)
    for kind in get_args(registry.Kind)
    for name in registry.names(kind)
    for field, setting in _settings(registry.find(kind, name))[0].items()
    if field in registry.settings(registry.find(kind, name))
]
"""Each number and each choice that any registered class takes."""
NUMBERS = [each[:3] for each in EVERY if isinstance(each[3], _Number)]
CHOICES = [each[:3] for each in EVERY if isinstance(each[3], _Choice)]


def test_there_are_numbers_and_choices() -> None:
    assert ("attack", "pgd", "momentum") in NUMBERS and len(NUMBERS) > 100
    assert {("attack", "apgd", "loss"), ("task", "retrieval", "attacked"), ("defense", "tte", "flip")} < set(CHOICES)


@pytest.mark.parametrize(("kind", "name", "field"), CHOICES, ids=["-".join(each) for each in CHOICES])
def test_no_choice_of_any_class_is_another(kind: registry.Kind, name: str, field: str) -> None:
    cls = registry.find(kind, name)
    needed = {each.name: "x" for each in fields(cls) if each.init and each.default is each.default_factory is MISSING}
    ways = (lambda given: cls(**given)), partial(registry.build, kind, name)
    for made, value in product(ways, (None, "bogus", 5, NAN, ["bogus"], {})):
        with pytest.raises(InvalidInput, match=field) as raised:
            made({**needed, field: value})
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("kind", "name", "field"), NUMBERS, ids=["-".join(each) for each in NUMBERS])
def test_no_number_of_any_class_is_taken_for_one(kind: registry.Kind, name: str, field: str) -> None:
    for value in (NAN, INF, -INF, True, "x", 1j):
        with pytest.raises(InvalidInput, match=field) as raised:
            registry.build(kind, name, {field: value})
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"momentum": -1.0}, "momentum=-1; write 0 or more"),
        ({"momentum": NAN}, "momentum=nan; write 0 or more"),
        ({"step": INF}, "step=inf; write 0 or more, in pixel units: 2/255"),
        ({"step": -1 / 255}, "step=-0.00392157; write 0 or more, in pixel units: 2/255"),
        ({"decay": 0.0}, "decay=0; write a number above 0 up to 1"),
        ({"steps": 0}, "steps=0; write 1 or more"),
        ({"steps": True}, "steps=True is no number; write 1 or more"),
        ({"steps": 1.5}, "steps=1.5; write 1 or more"),
    ],
)
def test_pgd_says_what_to_write(settings: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{said}$"):
        PGD(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cls", "settings", "said"),
    [
        (APGD, {"loss": "hinge"}, "loss='hinge'; write '', 'ce', 'dlr' or 'cw'"),
        (APGD, {"loss": None}, "loss=None; write '', 'ce', 'dlr' or 'cw'"),
        (SGA, {"legacy": "no"}, "legacy='no'; write True or False"),
        (SGA, {"legacy": 1}, "legacy=1; write True or False"),
        (MagNet, {"order": True}, "order=True; write 1 or 2"),
        (MagNet, {"order": 3}, "order=3; write 1 or 2"),
        (UnlabeledTask, {"goal": "targeted"}, "goal='targeted'; write 'untargeted'"),
        (
            RetrievalTask,
            {"attacked": "both"},
            "attacked='both' is no tuple; write a tuple, each 'query', 'gallery' or 'both'",
        ),
        (SGA, {"scales": 0.5}, "scales=0.5 is no tuple; write a tuple, each a number above 0"),
        (PGD, {"steps": None}, "steps=None; write 1 or more"),
    ],
)
def test_a_choice_says_what_there_is(cls: type, settings: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        cls(**settings)
    assert str(raised.value) == said


@pytest.mark.parametrize("settings", [{"rho": -1.0}, {"rho": 1.1}, {"kappa": -1.0}, {"kappa": INF}, {"targets": -1}])
def test_apgd_is_bounded(settings: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match=f"^{next(iter(settings))}="):
        APGD(**settings)  # type: ignore[arg-type]


def test_further_numbers() -> None:
    with pytest.raises(InvalidInput, match="jpeg=-5; write a number from 0 to 95"):
        Illusion(jpeg=-5)
    with pytest.raises(InvalidInput, match="scales=-1; write a number above 0"):
        SGA(scales=(0.5, -1.0))
    assert PGD(steps=3, step=0.0, momentum=1.0).steps == 3


@pytest.mark.parametrize(("norm", "eps"), [("l2", 1e30), ("l2", INF), ("l1", 1e30), ("linf", NAN), ("l2", 0.0)])
def test_a_radius_that_bounds_nothing_is_refused(norm: str, eps: float) -> None:
    with pytest.raises(InvalidInput, match="eps="):
        Threat(norm=norm, eps=eps)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["nan", "inf", "1/0", "inf/255", "1e999", "", "8/nan", True])
def test_a_fraction_is_a_finite_number(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"is no finite number; write 8/255 or 0\.0314"):
        fraction(text)


def test_bounds_in_words() -> None:
    assert [str(Bounds(1)), str(Bounds(0, 1)), str(Bounds(0, above=True)), str(Bounds(0, 1, above=True))] == [
        "1 or more",
        "a number from 0 to 1",
        "a number above 0",
        "a number above 0 up to 1",
    ]
