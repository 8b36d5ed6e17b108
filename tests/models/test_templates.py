"""Sets of templates: the published strings, to the last blank, and names that are offered."""

import pytest

from secondlook.errors import UnknownName
from secondlook.models.templates import template_sets, templates


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
        "itap of a {}.", "a bad photo of the {}.", "a origami {}.", "a photo of the large {}.",
        "a {} in a video game.", "art of the {}.", "a photo of the small {}.",
    } <= set(eighty)  # fmt: skip
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
