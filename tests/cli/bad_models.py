"""Models that are wrong in one thing each, by name: what ``python:`` factories of users give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from secondlook.models.base import Embedder, Purifier


class Answers:
    """A classifier of users' own: a function with classes and a size."""

    def __init__(self, answer: Callable[[Tensor], Any], classes: Any, size: Any = None) -> None:
        self.answer, self.classes, self.size = answer, classes, size

    def __call__(self, x: Tensor) -> Any:
        return self.answer(x)


class Looks(Embedder):
    """An embedder whose two sides are given."""

    name, modules = "looks", ()

    def __init__(self, image: Callable[[Tensor], Any], text: Callable[[Sequence[str]], Any]) -> None:
        self.image, self.text = image, text

    def encode_image(self, x: Tensor) -> Any:
        return self.image(x)

    def encode_text(self, texts: Sequence[str]) -> Any:
        return self.text(texts)


class Remakes(Purifier):
    """A purifier whose reconstruction is given."""

    name, modules = "remakes", ()

    def __init__(self, remake: Callable[[Tensor], Any]) -> None:
        self.remake = remake

    def reconstruct(self, x: Tensor, keys: object) -> Any:
        return self.remake(x)


def logits(x: Tensor) -> Tensor:
    return x.mean((2, 3)).repeat(1, 2)


def colors(x: Tensor) -> Tensor:
    return x.mean((2, 3)) + 0.1


def letters(texts: Sequence[str]) -> Tensor:
    return torch.tensor([[float(len(text)), float(ord(text[-1])), 1.0] for text in texts])


NAMES = ("red", "green", "blue", "cyan", "magenta", "yellow")
NAN, INF = float("nan"), float("inf")

ANSWERS: dict[str, Callable[[Tensor], Any]] = {
    "none": lambda x: None,
    "text": lambda x: "red",
    "integers": lambda x: logits(x).long(),
    "complex": lambda x: logits(x).to(torch.complex64),
    "booleans": lambda x: logits(x) > 0.5,
    "one_number": lambda x: logits(x)[:, 0],
    "scalar": lambda x: logits(x).sum(),
    "too_few_rows": lambda x: logits(x)[:-1],
    "too_many_rows": lambda x: torch.cat([logits(x), logits(x)]),
    "too_few_classes": lambda x: logits(x)[:, :3],
    "too_many_classes": lambda x: logits(x).repeat(1, 2),
    "three_axes": lambda x: logits(x)[:, :, None],
    "nan": lambda x: logits(x) * NAN,
    "infinite": lambda x: logits(x) + INF,
    "a_list": lambda x: logits(x).tolist(),
    "a_pair": lambda x: (logits(x), logits(x)),
    "a_mapping": lambda x: {"scores": logits(x)},
    "numpy": lambda x: logits(x).detach().numpy(),
    "raises": lambda x: 1 / 0,
    "raises_key": lambda x: {}[x.shape],
    "raises_in_a_library": lambda x: torch.nn.functional.linear(x, torch.rand(6, 5)),
    "raises_lines": lambda x: (_ for _ in ()).throw(RuntimeError("one\ntwo\nthree")),
}
CLASSES: dict[str, Any] = {
    "number": 6,
    "none": None,
    "text": "red",
    "bytes": b"redgreen",
    "one": ["red"],
    "nobody": [],
    "set": set(NAMES),
    "blank": ["red", "green", "blue", "cyan", "magenta", " "],
    "gaps": {0: "red", 2: "blue"},
    "others": ["a", "b", "c", "d", "e", "f"],
}
SIZES: dict[str, Any] = {
    "three": (3, 8, 8),
    "one": (8,),
    "negative": -8,
    "nothing": (0, 8),
    "float": 8.5,
    "text": "8",
    "mapping": {"height": 8},
}
IMAGES: dict[str, Callable[[Tensor], Any]] = {
    "none": lambda x: None,
    "other_length": lambda x: torch.ones(len(x), 5),
    "rows": lambda x: torch.ones(len(x) + 1, 3),
    "nan": lambda x: colors(x) * NAN,
    "complex": lambda x: colors(x).to(torch.complex64),
    "list": lambda x: colors(x).tolist(),
    "raises": lambda x: 1 / 0,
}
TEXTS: dict[str, Callable[[Sequence[str]], Any]] = {
    "none": lambda texts: None,
    "rows": lambda texts: letters(texts)[:-1],
    "flat": lambda texts: letters(texts).flatten(),
    "nan": lambda texts: letters(texts) * NAN,
    "infinite": lambda texts: letters(texts) * INF,
    "list": lambda texts: letters(texts).tolist(),
    "one_vector": lambda texts: torch.ones(len(texts), 3),
    "raises": lambda texts: 1 / 0,
}
REMADE: dict[str, Callable[[Tensor], Any]] = {
    "none": lambda x: None,
    "gray": lambda x: x[:, :1],
    "rows": lambda x: x[:1],
    "flat": lambda x: x.flatten(1),
    "nan": lambda x: x * NAN,
    "infinite": lambda x: x + INF,
    "complex": lambda x: x.to(torch.complex64),
    "list": lambda x: x.tolist(),
    "raises": lambda x: 1 / 0,
}
RETURNED: dict[str, Any] = {
    "number": 5,
    "text": "red",
    "none": None,
    "class": Answers,
    "module": torch,
    "nameless": logits,
}


def _network(*layers: torch.nn.Module) -> torch.nn.Module:
    """A network of torch's own layers, of whose code no line is the user's."""
    made = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(3 * 5 * 5, len(NAMES)))
    made.classes = NAMES  # type: ignore[assignment]
    return made


def _raising() -> Any:
    raise RuntimeError("boom\nsecond line")


FACTORIES: dict[str, Callable[[], Any]] = {
    **{f"answer_{name}": lambda f=f: Answers(f, NAMES) for name, f in ANSWERS.items()},  # type: ignore[misc]
    **{f"classes_{name}": lambda c=c: Answers(logits, c) for name, c in CLASSES.items()},  # type: ignore[misc]
    **{f"size_{name}": lambda s=s: Answers(logits, NAMES, s) for name, s in SIZES.items()},  # type: ignore[misc]
    **{f"image_{name}": lambda f=f: Looks(f, letters) for name, f in IMAGES.items()},  # type: ignore[misc]
    **{f"text_{name}": lambda f=f: Looks(colors, f) for name, f in TEXTS.items()},  # type: ignore[misc]
    **{f"returned_{name}": lambda r=r: r for name, r in RETURNED.items()},  # type: ignore[misc]
    "network_of_another_size": _network,
    "network_of_another_depth": lambda: _network(torch.nn.Conv2d(5, 3, 1)),
    "raising": _raising,
    "wants_arguments": lambda x: x,  # type: ignore[dict-item, misc]
}
"""Each gives a model that an audit must refuse."""
PURIFIERS: dict[str, Callable[[], Any]] = {
    f"remade_{name}": lambda f=f: Remakes(f)  # type: ignore[misc]
    for name, f in REMADE.items()
}
no_factory = 5


def __getattr__(name: str) -> Callable[[], Any]:
    if name in FACTORIES or name in PURIFIERS:
        return {**FACTORIES, **PURIFIERS}[name]
    raise AttributeError(name)
