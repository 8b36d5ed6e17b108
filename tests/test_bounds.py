"""Numbers of every setting: what is out of bounds is refused in one sentence, whatever way it comes."""

from __future__ import annotations

from typing import get_args

import pytest

from secondlook import registry
from secondlook.attacks.apgd import APGD
from secondlook.attacks.illusion import Illusion
from secondlook.attacks.joint.sga import SGA
from secondlook.attacks.pgd import PGD
from secondlook.bounds import Bounds, _numbers
from secondlook.errors import InvalidInput
from secondlook.threat import Threat, fraction

NAN, INF = float("nan"), float("inf")
EVERY = [
    (kind, name, field)
    for kind in get_args(registry.Kind)
    for name in registry.names(kind)
    for field in _numbers(registry.find(kind, name))[0]
    if field in registry.settings(registry.find(kind, name))
]
"""Each number that any registered class takes."""


def test_there_are_numbers() -> None:
    assert ("attack", "pgd", "momentum") in EVERY and len(EVERY) > 100


@pytest.mark.parametrize(("kind", "name", "field"), EVERY, ids=["-".join(each) for each in EVERY])
@pytest.mark.parametrize("value", [NAN, INF, -INF, True, "x", 1j], ids=str)
def test_no_number_of_any_class_is_taken_for_one(kind: registry.Kind, name: str, field: str, value: object) -> None:
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
