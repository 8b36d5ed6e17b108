"""What stands before a model: views, fresh draws, and an objective that looks through them."""

import pytest
import torch
from torch import Tensor

from secondlook.attacks.base import input_gradient
from secondlook.audit.single.lens import Behind, Lens, Unnamed
from secondlook.defenses.baselines import NoiseVote
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.undefended import Undefended
from secondlook.errors import InvalidInput
from secondlook.goals.caption import Unsay
from secondlook.randomness import Keys
from tests.audit.single import world
from tests.models.test_captioner import Colours, colour

X = torch.cat([colour(0.6, 0.3, 0.1), colour(0.2, 0.2, 0.6), colour(0.3, 0.5, 0.2)])
TEXTS = (("red again",), ("blue again",), ("green again",))
KEYS = Keys.of(0, "abc")


def lens(samples: int = 1) -> Lens:
    model = Colours()
    return Lens(model, NoiseVote(model=Unnamed(model), sigma=0.1, samples=samples))


def unsay(x: Tensor, texts: tuple[tuple[str, ...], ...] = TEXTS) -> Tensor:
    return Unsay(captioner=Colours(), texts=texts)(x, Keys.of(0, range(len(x)))).loss


def test_nothing_in_front_shows_the_images_themselves() -> None:
    model = Colours()
    bare = Lens(model, Undefended(model=Unnamed(model)))
    assert bare.views(X, KEYS) is X and bare.eye is None and bare.looks == 1
    behind = Behind(objective=Unsay(captioner=model, texts=TEXTS), lens=bare, draws=4)
    assert torch.equal(behind(X, KEYS).loss, unsay(X))


def test_the_loss_behind_a_purifier_is_the_mean_over_its_draws() -> None:
    glass = lens()
    behind = Behind(objective=Unsay(captioner=Colours(), texts=TEXTS), lens=glass, draws=3)
    views = glass.views(X, KEYS, 3)
    assert views.shape == (9, *X.shape[1:]) and not torch.equal(views[0], views[1])
    each = torch.stack([unsay(views[draw::3]) for draw in range(3)])
    assert torch.allclose(behind(X, KEYS).loss, each.mean(0))
    assert behind.parts == (behind,)


def test_a_sample_is_judged_behind_it_as_among_others() -> None:
    behind = Behind(objective=Unsay(captioner=Colours(), texts=TEXTS), lens=lens(), draws=2)
    whole, rows = behind(X, KEYS).loss, torch.tensor([2, 0])
    assert torch.allclose(behind.take(rows)(X[rows], KEYS[rows]).loss, whole[rows])


def test_the_gradient_comes_through_the_purifier_or_straight_past_it() -> None:
    """The untargeted loss of red falls with red; behind the roll with the channel that is red."""
    model = Colours()
    signs = {}
    for purifier in (world.roll(), world.stiff()):
        glass = Lens(model, Consensus(model=Unnamed(model), purifier=purifier))
        for gradient in ("full", "bpda"):
            goal = Unsay(captioner=model, texts=(("red again",),))
            behind = Behind(objective=goal, lens=glass, gradient=gradient)  # type: ignore[arg-type]
            slope, _ = input_gradient(behind, X[:1], KEYS[:1])
            signs[purifier.name, gradient] = slope[0, :, 0, 0].sign().tolist()
    assert signs["tiny:roll", "full"] == [1, 1, -1]
    assert signs["tiny:roll", "bpda"] == signs["tiny:stiff", "full"] == [-1, 1, 1]


def test_what_is_shown_has_no_gradient_and_as_many_looks_as_the_defence_takes() -> None:
    glass = lens(samples=4)
    shown = glass.shown(X.clone().requires_grad_(), KEYS)
    assert len(shown) == 12 and not shown.requires_grad and glass.looks == 4
    assert torch.equal(shown, glass.views(X, KEYS, 4))


def test_a_captioner_has_no_scores() -> None:
    with pytest.raises(InvalidInput, match="names no classes"):
        Unnamed(Colours()).scores(X)
