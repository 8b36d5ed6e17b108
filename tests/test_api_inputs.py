"""What cannot be used is refused at the front door by value, field and fix; the rest is equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import secondlook as sl
from secondlook.api.inputs import pixels
from secondlook.labels import labels
from tests.analytic import directions, images

X = images(6, 96, 160)
NET = nn.Sequential(nn.Flatten(), nn.Linear(48, 4, bias=False))
NET[1].weight.data = directions(4).flatten(1).clone()
Y = NET(X).argmax(1)
EPS = 8 / 255


def attacked(model: Any = NET, x: Any = X, y: Any = Y, attack: Any = "pgd", **other: Any) -> Any:
    given = {"eps": EPS, "steps": 2} | other
    if not isinstance(attack, str):
        given.pop("steps")
    return sl.attack(model, x, y, attack, **given)


class Output(dict):  # type: ignore[type-arg]
    """As the Hugging Face hub's models answer: a mapping whose keys are attributes too."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


LABELS = {
    "[B, 1]": Y[:, None],
    "one-hot": torch.eye(4)[Y],
    "one-hot, integral": torch.eye(4, dtype=torch.uint8)[Y],
    "one-hot, bool": torch.eye(4, dtype=torch.bool)[Y],
    "uint8": Y.to(torch.uint8),
    "int32": Y.int(),
    "whole floats": Y.float(),
    "list": Y.tolist(),
    "tuple": tuple(Y.tolist()),
    "NumPy": Y.numpy(),
    "NumPy, big-endian": Y.numpy().astype(">i4"),
    "list of NumPy integers": list(Y.numpy()),
    "with a gradient": Y.double().requires_grad_(),
}


@pytest.mark.parametrize("form", LABELS)
def test_labels_of_any_form_are_those_of_int64(form: str) -> None:
    assert torch.equal(labels(LABELS[form], 6), Y)
    assert torch.equal(attacked(y=LABELS[form]).x, attacked().x)


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (Y * 0 - 1, r"y holds -1 and the model has 4 classes; labels count from 0 to 3"),
        (Y + 9, r"y holds \d+ and the model has 4 classes"),
        (Y.float() + 0.5, r"y holds \d\.5, no class"),
        (Y * float("nan"), "y holds nan, no class"),
        (Y[:5], "y has 5 labels for 6 images"),
        (Y[:, None, None], r"y has shape \(6, 1, 1\); labels are \[B\]"),
        (torch.eye(4)[Y] * 0.5, r"\(6, 4\) and is not one-hot; .*write y\.argmax\(1\)"),
        (Y > 1, "y is bool, no classes"),
        (3, "y is int; give a torch tensor or a NumPy array"),
        ("cat", "y is str"),
        (["cat"] * 6, "y is an array of <U3"),
        (None, "y is NoneType"),
    ],
)
def test_labels_that_are_none_are_refused(y: object, says: str) -> None:
    with pytest.raises(sl.InvalidInput, match=says):
        attacked(y=y)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (X * 255, "up to .*; divide by 255"),
        ((X * 255).byte(), "x is uint8; pixels are floats in .*, write x / 255"),
        ((X * 255).byte().numpy(), "x is uint8; .*write x / 255"),
        (X * 2 - 1, r"not \[0, 1\]; normalization belongs inside the model"),
        (X * float("nan"), "NaN"),
        (torch.rand(2, 8, 8, 3), r"which is \[B, H, W, C\]; write x\.permute\(0, 3, 1, 2\)"),
        (np.random.default_rng(0).random((2, 8, 8, 3)), r"write x\.transpose\(0, 3, 1, 2\)"),
        (X[0], r"x has shape \(3, 4, 4\); a single image .*x\[None\]"),
        (X[0, 0], r"x has shape \(4, 4\); images are \[B, C, H, W\]"),
        (X[:0], "a batch of nothing; give one image or more"),
        (X[:, :0], "images without pixels"),
        (X.half(), r"x is float16, too coarse .*write x\.float\(\)"),
        (X.bfloat16(), r"x is bfloat16, .*write x\.float\(\)"),
        (X.numpy().astype(np.float16), r'write x\.astype\("float32"\)'),
        (X > 0.5, "x is bool"),
        (list(X), r"x is a list; write torch\.stack\(x\)"),
        ("photos/", "x is str; give a torch tensor or a NumPy array"),
        (None, "x is NoneType"),
        (X.to("meta"), "x is on the device meta"),
        (X.to_sparse(), r"x is no dense tensor; write x\.to_dense\(\)"),
        (np.ma.masked_array(X.numpy(), mask=X.numpy() > 0.5), r"x is a masked array; write x\.filled"),
        (X.numpy().astype(object), "x is an array of object"),
    ],
)
def test_pixels_that_are_none_are_refused(x: object, says: str) -> None:
    with pytest.raises(sl.InvalidInput, match=says):
        attacked(x=x)


@pytest.mark.parametrize("x", [X.numpy(), X.numpy().astype(">f4"), X.flip(0).numpy()[::-1], X.clone().requires_grad_()])
def test_pixels_of_any_form_are_those_of_the_tensor(x: Any) -> None:
    assert torch.equal(pixels(x), X)
    assert torch.equal(torch.as_tensor(attacked(x=x).x), attacked().x)


def answering(change: Any) -> Any:
    return lambda x: change(NET(x))


@pytest.mark.parametrize(
    "model",
    [
        lambda x: Output(logits=NET(x), hidden_states=None),
        lambda x: {"logits": NET(x)},
        torch.export.export(NET, (X,), dynamic_shapes=({0: Dim("batch")},)).module(),
        nn.DataParallel(NET),
    ],
)
def test_a_model_of_another_form_is_the_same(model: Any) -> None:
    assert torch.equal(attacked(model).x, attacked().x)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (answering(lambda out: (out, None)), r"answered tuple of 2.*lambda x: model\(x\)\[0\]"),
        (answering(lambda out: {"scores": out}), r"answered dict.*lambda x: model\(x\)\['scores'\]"),
        (answering(lambda out: out.detach().numpy()), "answered ndarray, not logits"),
        (answering(lambda out: out[:, 0]), r"answered \(6,\), one number for an image"),
        (answering(lambda out: out[:, :1]), r"answered \(6, 1\), one number for an image"),
        (answering(lambda out: out[:, :, None, None]), r"\(6, 4, 1, 1\) where logits \[B, K\]"),
        (answering(lambda out: out.argmax(1)), "one number for an image"),
        (answering(lambda out: out > 0), "answered bool; logits are floats"),
        (answering(lambda out: None), "answered NoneType"),
        (nn.Linear(7, 2), r"Linear raised RuntimeError on pixels \(6, 3, 4, 4\) on cpu"),
        (nn.Linear, r"model=Linear is a class; write Linear\(\.\.\.\)"),
        (3, "model=3 is no model; give an nn.Module"),
        (None, "model=None is no model"),
        ("scenes:classifer", "did you mean scenes:classifier|did you mean classifier"),
        ("resnet50", "unknown model 'resnet50'"),
        ("", "unknown model ''"),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 4)).to("meta"), "is on the device meta; load"),
        ("scenes:captioner", "names no classes; give a classifier"),
        ("scenes:vae", "names no classes; give a classifier"),
        ("scenes:clip", r"write classes=\[\.\.\.\]"),
    ],
)
def test_a_model_that_is_none_is_refused(model: Any, says: str) -> None:
    with pytest.raises(sl.InvalidInput, match=says):
        attacked(model)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"eps": 8}, r"eps=8 is outside \[0, 1\]; eps is in pixel units, write 8/255"),
        ({"eps": 0}, "eps=0 is not positive"),
        ({"eps": -EPS}, "is not positive"),
        ({"eps": float("nan")}, "is not positive"),
        ({"eps": "8:255"}, "is not a number; write 8/255"),
        ({"eps": None}, "eps=None is not a number; write 8/255"),
        ({"eps": True}, "eps=True is not a number; write 8/255"),
        ({"eps": 10**400}, "is not a number; write 8/255"),
        ({"eps": [EPS, EPS / 2]}, "is not a number; write 8/255"),
        ({"norm": "Linf"}, "norm='Linf' is unknown; write 'linf'"),
        ({"norm": float("inf")}, "norm=inf is unknown; write 'linf'"),
        ({"attack": "autoatack"}, "unknown attack 'autoatack'; did you mean autoattack"),
        ({"attack": ""}, "unknown attack ''"),
        ({"attack": "apgd", "step_size": 3}, "field of attack 'apgd'.*'step_size'"),
        ({"steps": 0}, "steps=0; write 1 or more"),
        ({"steps": "many"}, "pgd.steps='many'"),
        ({"attack": sl.PGD}, r"attack=PGD is a class; write PGD\(\)"),
        ({"attack": sl.Jpeg}, "attack=Jpeg is a class"),
        ({"attack": 3}, "attack=3 is no attack"),
        ({"attack": sl.PGD(steps=2), "restarts": 3}, "restarts beside an attack"),
        ({"batch_size": 0}, "batch_size=0; write a whole number from 1"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
        ({"draws": 0}, "draws=0"),
        ({"grid": 0}, "grid=0; write a whole number from 1"),
        ({"grid": 1 / 255}, "grid=0.00"),
        ({"grid": 255, "x": X * 0.999}, r"x lies between .*write \(x \* 255\)\.round\(\) / 255"),
        ({"seed": 0.5}, "seed=0.5"),
        ({"seed": -1}, "seed=-1; write 0 or more"),
        ({"target": 4}, "target holds 4 and the model has 4 classes"),
        ({"target": -1}, "target holds -1"),
        ({"target": [1, 2]}, "target has 2 labels for 6 images"),
        ({"target": "cat"}, "target is str"),
        ({"classes": ["a", "b"]}, r"\(6, 4\), and there are 2 classes"),
        ({"device": "cuda:9"}, "device='cuda:9'"),
        ({"device": "gpu"}, "device='gpu'"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(sl.InvalidInput, match=says):
        attacked(**given)


def test_a_batch_in_another_layout_is_the_same() -> None:
    x = X.to(memory_format=torch.channels_last)
    found = attacked(x=x)
    assert torch.equal(found.x, attacked().x)


def test_a_tensor_that_is_an_image_of_a_gradient_is_left_alone() -> None:
    x: Tensor = X.clone().requires_grad_()
    attacked(x=x)
    assert x.grad is None and x.requires_grad
