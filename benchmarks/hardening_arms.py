"""The trainings that the studies of hardening compare, each by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from secondlook import registry
from secondlook.hardening.base import Method


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One training.

    Attributes:
        method: what is taught, by its name.
        settings: those of the method.
        model: the embedder that learns.
    """

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: str = "scenes:clip"

    def build(self, eps: float) -> Method:
        """The method; one without an attack inside has no radius."""
        inside = {} if self.method == "clean" else {"eps": eps}
        method: Method = registry.build("method", self.method, {**inside, **self.settings})
        return method


def _plus(**weights: float) -> Arm:
    return Arm(method="mat+", settings={"original": 1.0, "human": 0.0, **weights})


ARMS: Final[Mapping[str, Arm]] = {
    "clean": Arm(method="clean"),
    "TeCoA": Arm(method="tecoa"),
    "TeCoA-ITR": Arm(method="tecoa-itr"),
    "FARE": Arm(method="fare"),
    "MAT": Arm(method="mat"),
    "MAT, images first": Arm(method="mat", settings={"order": "i-t"}),
    "MAT, at once": Arm(method="mat", settings={"order": "simultaneous"}),
    "MAT, PGD-10": Arm(method="mat", settings={"attack_steps": 10}),
    "human captions": _plus(human=4.0),
    "EDA": _plus(eda=4.0),
    "paraphrase": _plus(paraphrase=4.0),
    "captioned": _plus(captioned=4.0),
    "RandAugment, colour": _plus(looks=0.5),
    "RandAugment, all": Arm(
        method="mat+",
        settings={"original": 1.0, "human": 0.0, "looks": 0.5, "kind": "all"},
    ),
    "RandAugment, colour, slight": _plus(looks=0.5, strength=0.1),
    "painted": _plus(painted=0.5),
    "human captions and half of the images": _plus(human=4.0, looks=0.5),
    "human captions and an eighth of the images": _plus(human=4.0, looks=0.125, strength=0.1),
    "human captions and a quarter painted": _plus(human=4.0, painted=0.25),
    "vit: clean": Arm(method="clean", model="scenes:clip-vit"),
    "vit: TeCoA-ITR": Arm(method="tecoa-itr", model="scenes:clip-vit"),
    "vit: MAT": Arm(method="mat", model="scenes:clip-vit"),
    "vit: human captions": Arm(
        method="mat+", settings={"human": 4.0}, model="scenes:clip-vit"
    ),
}  # fmt: skip

STUDIES: Final[Mapping[str, tuple[str, ...]]] = {
    "methods": ("clean", "TeCoA", "TeCoA-ITR", "FARE", "MAT", "human captions"),
    "order": ("MAT", "MAT, images first", "MAT, at once", "MAT, PGD-10"),
    "augmentation": (
        "MAT", "human captions", "EDA", "paraphrase", "captioned", "RandAugment, colour",
        "RandAugment, all", "painted",
    ),
    "protocols": (
        "MAT", "human captions", "RandAugment, colour", "human captions and half of the images",
        "human captions and an eighth of the images", "human captions and a quarter painted",
    ),
    "gap": (
        "MAT", "painted", "RandAugment, colour, slight", "RandAugment, colour", "RandAugment, all",
    ),
    "architectures": (
        "clean", "TeCoA-ITR", "MAT", "human captions",
        "vit: clean", "vit: TeCoA-ITR", "vit: MAT", "vit: human captions",
    ),
}  # fmt: skip
"""Which of them each study sets side by side."""
