"""CIFAR-100: small photographs of a hundred kinds of things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from secondlook.data.batches import Layout
from secondlook.data.cifar import Cifar
from secondlook.registry import register

CLASSES: Final = (
    "apple", "aquarium fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup",
    "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house",
    "kangaroo", "keyboard", "lamp", "lawn mower", "leopard", "lion", "lizard", "lobster", "man",
    "maple tree", "motorcycle", "mountain", "mouse", "mushroom", "oak tree", "orange", "orchid",
    "otter", "palm tree", "pear", "pickup truck", "pine tree", "plain", "plate", "poppy",
    "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal",
    "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar",
    "sunflower", "sweet pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow tree", "wolf", "woman",
    "worm",
)  # fmt: skip
"""The fine labels in their published order, blanks for underscores."""


@register("data", "cifar100")
@dataclass(frozen=True, kw_only=True)
class Cifar100(Cifar):
    """CIFAR-100 (Krizhevsky 2009), fine labels: ``cifar100:FOLDER#test``, or ``cifar100:PATH.npz``.

    The folder is ``cifar-100-binary`` or ``cifar-100-python`` as published, or what holds one of
    them; the archive is as of ``cifar10:``.

    Attributes:
        prompt: makes a text of a class name.
    """

    prompt: str = "a photo of a {}."
    layout: ClassVar[Layout] = Layout(
        folders=("cifar-100-binary", "cifar-100-python"),
        files={"test": ("test",), "train": ("train",)},
        labels=2,  # the coarse one, then the fine one
        key="fine_labels",
        classes=CLASSES,
    )
