"""Classifiers by texts: their prompts' templates, cached texts, and what goes wrong."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.errors import InvalidInput, UnknownName
from secondlook.models import zeroshot
from secondlook.models.base import Embedder
from secondlook.models.zeroshot import TemplateSet, ZeroShot, template_sets, templates
from tests.closeness import same


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("single", "a photo of a {}."),
        ("multishield", "photo of  a {}"),
        ("multishield-cifar10", "this is a photo of a {}"),
        ("illusions", "A photo of a {}."),
        ("tecoa", "This is a photo of a {}"),
        ("clip-rsicd", "Aerial photograph of {}"),
        ("clip-rsicd-readme", "An aerial photograph of {}"),
    ],
)
def test_the_strings_are_those_that_were_published(name: str, said: str) -> None:
    assert templates(name) == (said,)


def test_the_eighty_are_eighty_different_ones() -> None:
    eighty = templates("imagenet-80")
    assert len(set(eighty)) == len(eighty) == 80
    assert (eighty[0], eighty[-1]) == ("a bad photo of a {}.", "a tattoo of the {}.")
    # The seven that are best together, by greedy search in CLIP's own notebook.
    assert {
        "itap of a {}.",
        "a bad photo of the {}.",
        "a origami {}.",
        "a photo of the large {}.",
        "a {} in a video game.",
        "art of the {}.",
        "a photo of the small {}.",
    } <= set(eighty)
    assert all(each.endswith(".") for each in eighty)


def test_every_set_says_where_it_comes_from_and_has_one_place_in_each_template() -> None:
    for name, found in template_sets().items():
        assert found.about, name
        assert "{" not in name
        assert found.templates
        assert all(each.count("{}") == 1 and each.strip() == each for each in found.templates)


def test_a_template_stands_for_itself_even_where_it_looks_like_a_name() -> None:
    assert templates("single {}") == ("single {}",)
    with pytest.raises(UnknownName, match="did you mean illusions"):
        templates("ilusions")


AXES = {"red": (2.0, 0.0, 0.0), "green": (0.0, 3.0, 0.0), "yellow": (1.0, 1.0, 0.0)}


class MeanColor(Embedder):
    """The mean color of an image; a text is its last word, and bluer where it says so."""

    name = "mean color"

    def encode_image(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        blue = torch.tensor([[0.0, 0.0, 4.0 * text.startswith("a bluish")] for text in texts])
        return torch.tensor([AXES[text.split()[-1]] for text in texts]) + blue


def one_color(*rgb: float) -> Tensor:
    return torch.tensor(rgb).view(1, 3, 1, 1).expand(1, 3, 4, 4)


def test_zero_shot_scores_are_the_cosines_computed_by_hand() -> None:
    model = ZeroShot(MeanColor(), ["red", "green", "yellow"], "a picture of something {}")
    scores = model(one_color(0.6, 0.8, 0.0))
    expected = torch.tensor([[0.6, 0.8, 1.4 / 2**0.5]])
    assert torch.allclose(scores, expected, atol=1e-6)
    assert torch.allclose(model.class_features(torch.tensor([1, 0])), torch.eye(3)[[1, 0]])


def test_zero_shot_scores_take_any_leading_shape() -> None:
    model = ZeroShot(MeanColor(), ["red", "green"])
    features = F.normalize(torch.rand(2, 5, 3), dim=-1)
    assert same(model.scores(features)[1], model.scores(features[1]))


@pytest.mark.parametrize(("classes", "prompt", "said"), [([], "{}", "0 class"), (["red"], "{}", "needs two")])
def test_a_choice_that_is_none_is_refused(classes: list[str], prompt: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        ZeroShot(MeanColor(), classes, prompt)


def test_a_prompt_without_a_place_for_the_class_must_name_a_set() -> None:
    said = r"unknown set of templates \(a template of your own has {} in it\) 'imagenet80'; "
    with pytest.raises(UnknownName, match=said + "did you mean imagenet-80"):
        ZeroShot(MeanColor(), ["red", "green"], "imagenet80")
    with pytest.raises(UnknownName, match="there is: clip-rsicd, .*single, tecoa"):
        ZeroShot(MeanColor(), ["red", "green"], "###")


def test_a_class_is_the_normalized_mean_of_the_unit_vectors_of_its_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = {"pair": TemplateSet("two", ("a {}", "a bluish {}"))}
    monkeypatch.setattr(zeroshot, "template_sets", lambda: pair)
    model = ZeroShot(MeanColor(), ["red", "green"], "pair")
    # Red is (1, 0, 0) and (2, 0, 4) / sqrt 20; green (0, 1, 0) and (0, 3, 4) / 5.
    red = torch.tensor([1 + 2 / 20**0.5, 0, 4 / 20**0.5])
    green = torch.tensor([0, 1 + 3 / 5, 4 / 5])
    expected = torch.stack([red / red.norm(), green / green.norm()])
    assert torch.allclose(model.texts, expected, atol=1e-6)
    assert model.classes == ("red", "green")


def test_braces_in_a_class_name_are_left_alone() -> None:
    class Echo(MeanColor):
        def encode_text(self, texts: Sequence[str]) -> Tensor:
            said.extend(texts)
            return torch.eye(3)[: len(texts)]

    said: list[str] = []
    ZeroShot(Echo(), ["a {curly} one", "100 {}"], "see {}")
    assert said == ["see a {curly} one", "see 100 {}"]
