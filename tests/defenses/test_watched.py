"""A watched captioner: calibrated on clean images, and silent where the detector is suspicious."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from secondlook.data.base import Samples, Source
from secondlook.defenses.consistency import Consistency
from secondlook.defenses.mirrorcheck import mirror
from secondlook.defenses.watched import Curtain, Verdict, Watched
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models.views import Blur
from secondlook.randomness import Keys
from tests.defenses.mirror_models import Brush, Prism, prisms
from tests.models.test_captioner import Colours

N = 40
COLOUR = torch.tensor([[0.8, 0.4, 0.4], [0.4, 0.8, 0.4], [0.4, 0.4, 0.8]])


class Plain(Source):
    """Images of red, green and blue, each with a grain of its own."""

    ids = tuple(f"plain-{row}" for row in range(N))
    classes = ("red", "green", "blue")

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        truth = torch.tensor(rows) % 3
        grain = 0.2 * Keys.of(0, [self.ids[row] for row in rows]).uniform((3, 1, 1))
        images = COLOUR[truth][:, :, None, None] - grain
        return Samples(images.expand(-1, -1, 8, 8).contiguous(), truth)


class Red(Brush):
    """Paints the first word."""

    def draw(self, texts: Sequence[str], keys: Keys, steps: int, guidance: float) -> Tensor:
        return super().draw([text.split()[0] for text in texts], keys, steps, guidance)


def watched() -> Watched:
    return Watched(captioner=Colours(), detector=mirror(encoders=prisms(), painters=Red()))


def images(rows: int) -> tuple[Tensor, Keys]:
    return Plain().read(range(rows), None).images, Keys.of(0, range(rows))


def test_what_was_said_is_what_is_painted() -> None:
    x, keys = images(9)
    guard = watched()
    answered = guard.decide(x, keys)
    assert answered.captions == Colours().caption(x, keys)
    given = guard.suspicion(x, keys, answered.captions)
    assert torch.equal(answered.suspicion, given)
    assert torch.equal(guard.suspicion(x, keys), given)
    wrong = guard.suspicion(x, keys, [*answered.captions[1:], answered.captions[0]])
    assert float(wrong.min()) > float(given.max())


def test_the_threshold_is_calibrated_and_holds() -> None:
    guard = watched().calibrated(Plain(), 0.1, samples=29)
    scores = watched().clean(Plain(), 29)
    assert guard.threshold == pytest.approx(float(scores.sort().values[26]))
    x, keys = images(9)
    assert bool(guard.decide(x, keys).accepted.any())
    red = torch.full_like(x, 0.1)
    red[:, 0] = 0.9
    lied = guard.suspicion(red, keys, ["blue again"] * 9)
    assert bool((lied > guard.threshold).all())


def test_too_few_clean_images_say_how_many_are_needed() -> None:
    with pytest.raises(InvalidInput, match="needs 99 clean images or more, not 40"):
        watched().calibrated(Plain(), 0.01)
    with pytest.raises(InvalidInput, match="needs 19 clean images or more, not 12"):
        watched().calibrated(Plain(), 0.05, samples=12)


def test_a_detector_that_does_not_listen_is_asked_alone() -> None:
    x, keys = images(4)
    deaf = Consistency(eyes=(Prism("eye"),), views=(Blur(1.0),))
    guard = Watched(captioner=Colours(), detector=deaf)
    assert torch.equal(guard.suspicion(x, keys), deaf.suspicion(x, keys.fold("detect")))
    assert guard.decide(x, keys).captions == Colours().caption(x, keys)


def test_a_verdict_is_one_bit_and_counts_as_a_query() -> None:
    x, keys = images(9)
    guard = watched()
    middle = float(guard.decide(x, keys).suspicion.median()) + 1e-6
    strict = replace(guard, threshold=middle)
    with counting() as ledger:
        bit = Verdict(guard=strict).suspicion(x.requires_grad_(), keys)
    assert torch.equal(bit == 0, strict.decide(x, keys).accepted)
    assert bit.unique().tolist() == [0, 1]
    assert not bit.requires_grad
    assert ledger.by_model["colours"] == [9, 0]


def test_behind_the_curtain_what_is_held_back_is_silence() -> None:
    x, keys = images(9)
    guard = watched()
    middle = float(guard.decide(x, keys).suspicion.median()) + 1e-6
    strict = replace(guard, threshold=middle)
    said, found = Curtain(strict).caption(x, keys, length=40), strict.decide(x, keys)
    wanted = [t if a else "" for t, a in zip(found.captions, found.accepted, strict=True)]
    assert said == wanted and "" in said and any(said)
    assert all(len(text.split()) <= 1 for text in Curtain(guard).caption(x, keys, length=1))


class Mute(Colours):
    """Says nothing."""

    def spell(self, ids: Tensor) -> str:
        return ""


def test_silence_is_never_given_out_however_loose_the_threshold() -> None:
    x, keys = images(6)
    mute = replace(watched(), captioner=Mute()).at(torch.full((60,), 2.0), 0.05)
    assert mute.threshold == 2.0 and not mute.decide(x, keys).accepted.any()
    deaf = Watched(captioner=Mute(), detector=Consistency(eyes=(Prism("e"),), views=(Blur(1.0),)))
    assert deaf.decide(x, keys).accepted.all()


def test_keys_are_one_for_each_image() -> None:
    x, keys = images(4)
    with pytest.raises(InvalidInput, match="3 keys for 4 samples"):
        watched().decide(x, keys[:3])


def test_the_parts_are_all_that_is_asked() -> None:
    assert [part.name for part in watched().parts] == [
        "colours", "prism 0", "prism 1", "prism 2", "brush"
    ]  # fmt: skip
