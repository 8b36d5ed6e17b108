"""Models from the user's own functions, and what goes wrong with them."""

import itertools
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from secondlook.errors import InvalidInput, UnknownName
from secondlook.models import listed, load
from secondlook.models.base import Classifier
from secondlook.models.captioner import Captioner

_fresh = itertools.count()

BRIGHTNESS = """
import torch
from secondlook.models.base import Embedder, Classifier
class Net(torch.nn.Module):
    classes = ["dark", "bright"]
    size = (4, 4)
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(2.0))
        self.drop = torch.nn.Dropout(0.5)
    def forward(self, x):
        assert x.shape[-2:] == (4, 4)
        mean = self.drop(self.scale * x.mean(dim=(1, 2, 3)))
        return torch.stack([1 - mean, mean], 1)
class Eye(Embedder):
    def encode_image(self, x): return x.mean(dim=(2, 3))
    def encode_text(self, texts): return torch.ones(len(texts), 3)
def function():
    answer = lambda x: x.mean(dim=(2, 3))
    answer.classes = ("r", "g", "b")
    return answer
def wrapped():
    answer = lambda x: {"loss": None, "logits": x.mean(dim=(2, 3))}
    answer.classes = ("r", "g", "b")
    return answer
def short():
    answer = lambda x: x.mean(dim=(2, 3))
    answer.classes = ("r", "g")
    return answer
def unnamed(): return lambda x: x
def lonely():
    net = Net()
    net.classes = ["one"]
    return net
def broken(): raise OSError("no weights here")
def number(): return 3
def kind(): return Eye
def needs(argument): return argument
THING = 4
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module into the working directory and names it."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        name = f"users_own_{next(_fresh)}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def test_a_network_may_hold_an_exported_program(module: Callable[[str], str]) -> None:
    """Which takes no call of ``eval``."""
    text = """
        import torch
        from torch import nn
        class Holds(nn.Module):
            classes, size = ("a", "b"), (4, 4)
            def __init__(self):
                super().__init__()
                net, free = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval(), {0: torch.export.Dim("b", min=1)}
                self.held = torch.export.export(net, (torch.rand(2, 3, 4, 4),), dynamic_shapes=(free,)).module()
            def forward(self, x): return self.held(x)
        """
    model = load(f"python:{module(textwrap.dedent(text))}:Holds")
    assert isinstance(model, Classifier) and model(torch.rand(3, 3, 4, 4)).shape == (3, 2)


def test_a_network_with_classes_becomes_a_classifier(module: Callable[[str], str]) -> None:
    path = list(sys.path)
    model = load(f"python:{module(BRIGHTNESS)}:Net")
    assert isinstance(model, Classifier)
    assert model.classes == ("dark", "bright")
    assert model.size == (4, 4)
    scores = model(torch.full((2, 3, 9, 7), 0.4))
    assert torch.allclose(scores, torch.tensor([[0.2, 0.8], [0.2, 0.8]]), atol=1e-6)
    assert not any(p.requires_grad for part in model.modules for p in part.parameters())
    assert sys.path == path


def test_a_plain_function_with_classes_becomes_a_classifier(module: Callable[[str], str]) -> None:
    model = load(f"python:{module(BRIGHTNESS)}:function")
    x = torch.rand(2, 3, 5, 5, requires_grad=True)
    (grad,) = torch.autograd.grad(model(x)[:, 1].sum(), x)
    assert torch.allclose(grad[:, 1], torch.full((2, 5, 5), 1 / 25))
    assert not grad[:, 0].any()


def test_logits_are_found_in_an_output_that_names_them(module: Callable[[str], str]) -> None:
    x = torch.rand(2, 3, 5, 5)
    assert torch.equal(load(f"python:{module(BRIGHTNESS)}:wrapped")(x), x.mean(dim=(2, 3)))


def test_a_model_of_ours_is_taken_as_it_is_and_named(module: Callable[[str], str]) -> None:
    name = f"python:{module(BRIGHTNESS)}:Eye"
    assert load(name).name == name


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("unnamed", "without an attribute `classes`"),
        ("lonely", "two or more names"),
        ("broken", "raised OSError: no weights here"),
        ("needs", "raised TypeError: .*it is called without arguments"),
        ("number", "returned 3; return an Embedder"),
        ("kind", "returned <class .*Eye'>; return an Embedder"),
        ("THING", "is int, no factory"),
    ],
)
def test_a_factory_that_cannot_be_used_is_told(module: Callable[[str], str], factory: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        load(f"python:{module(BRIGHTNESS)}:{factory}")


def test_the_wrong_number_of_logits_is_told(module: Callable[[str], str]) -> None:
    model = load(f"python:{module(BRIGHTNESS)}:short")
    with pytest.raises(InvalidInput, match=r"\(2, 3\) where logits \(2, 2\) were due"):
        model(torch.rand(2, 3, 4, 4))


def test_the_nearest_factory_is_offered(module: Callable[[str], str]) -> None:
    with pytest.raises(UnknownName, match="did you mean function"):
        load(f"python:{module(BRIGHTNESS)}:functoin")


def test_a_missing_module_is_told_from_one_that_fails(module: Callable[[str], str]) -> None:
    with pytest.raises(InvalidInput, match="no module 'users_missing' in .*run from the folder"):
        load("python:users_missing:make")
    with pytest.raises(InvalidInput, match="importing .* raised ModuleNotFoundError.*nowhere_else"):
        load(f"python:{module('import nowhere_else')}:make")
    with pytest.raises(InvalidInput, match="importing .* raised SyntaxError"):
        load(f"python:{module('def (')}:make")


@pytest.mark.parametrize("name", ["python:module", "python:module:", "python::make"])
def test_a_name_without_both_parts_is_told(name: str) -> None:
    with pytest.raises(InvalidInput, match="write python:MODULE:FACTORY"):
        load(name)


def test_nothing_is_listed() -> None:
    assert listed("python") == {}


def test_a_captioner_is_a_model_too() -> None:
    assert isinstance(load("python:tests.models.test_captioner:Colors"), Captioner)


@pytest.mark.parametrize(("given", "size"), [("8", (8, 8)), ("[8, 6]", (8, 6)), ("None", None)])
def test_a_size_is_a_side_or_two(module: Callable[[str], str], given: str, size: tuple[int, int] | None) -> None:
    text = (
        BRIGHTNESS
        + f"""
def sized():
    answer = lambda x: x.mean(dim=(2, 3))
    answer.classes, answer.size = {{2: "b", "0": "r", 1: "g"}}, {given}
    return answer
"""
    )
    model = load(f"python:{module(text)}:sized")
    assert (model.classes, model.size) == (("r", "g", "b"), size)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("size = (3, 8, 8)", r"size=\(3, 8, 8\); write \(height, width\) or one number"),
        ("size = '8'", "size='8'"),
        ("size = 0", "size=0"),
        ("classes = 10", "classes=10; write the names of its logits"),
        ("classes = None", "classes=None"),
        ("classes = {'r', 'g', 'b'}", "has no order; write a list"),
        ("classes = {0: 'r', 2: 'b'}", "write a name for 0, 1, 2"),
        ("classes = 'rgb'", "classes='rgb'"),
    ],
)
def test_names_and_sizes_that_are_none_are_told(module: Callable[[str], str], setting: str, said: str) -> None:
    text = (
        BRIGHTNESS
        + f"""
class Other(Net):
    {setting}
"""
    )
    with pytest.raises(InvalidInput, match=said):
        load(f"python:{module(text)}:Other")


@pytest.mark.parametrize("weights", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("pixels", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_pixels_come_in_the_precision_of_the_weights(
    module: Callable[[str], str], weights: torch.dtype, pixels: torch.dtype
) -> None:
    model = load(f"python:{module(BRIGHTNESS)}:Net")
    model.modules[0].to(weights)
    x = torch.full((2, 3, 8, 8), 0.5, dtype=pixels)
    scores = model(x)
    assert scores.dtype == torch.promote_types(weights, torch.float32)
    assert torch.allclose(scores, torch.tensor([0.0, 1.0], dtype=scores.dtype), atol=1e-2)
