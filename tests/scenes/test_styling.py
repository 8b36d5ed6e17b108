"""The numbers that no sentence tells: uniform over the world, and in the order of a caption."""

import numpy as np
import torch

from secondlook.scenes.captions import captions
from secondlook.scenes.dataset import batch
from secondlook.scenes.sampling import sample
from secondlook.scenes.styling import OF_A_THING, STYLE, style
from secondlook.scenes.tokenizer import Tokenizer
from secondlook.scenes.training.images import SceneSet
from secondlook.scenes.training.painting import _styles
from secondlook.scenes.world import Scene

SCENES = [sample(0, "train", row) for row in range(300)]


def test_each_number_is_uniform_between_nothing_and_one() -> None:
    found = np.stack([style(scene) for scene in SCENES])
    assert found.shape == (300, STYLE)
    assert np.nanmin(found) >= 0
    assert np.nanmax(found) <= 1
    assert np.allclose(np.nanmean(found, 0), 0.5, atol=0.12)
    assert np.allclose(np.nanstd(found, 0), 12**-0.5, atol=0.06)


def test_a_thing_that_is_not_there_has_no_numbers() -> None:
    for scene in SCENES[:60]:
        missing = np.isnan(style(scene)[: 3 * OF_A_THING]).reshape(3, OF_A_THING)
        assert missing.all(1).tolist() == missing.any(1).tolist()
        assert (~missing.all(1)).sum() == len(scene.things)


def order(text: str, scene: Scene) -> list[int]:
    """The things beside the main one, as a caption names them."""
    spoken = Tokenizer().decode(Tokenizer().encode([text]))[0].split()
    return sorted((0, 1), key=lambda each: spoken.index(scene.others[each].colour))


def test_things_come_in_the_order_of_the_caption() -> None:
    found = batch(0, "train", range(60))
    texts = [text for five in found.captions for text in five]
    scenes = SceneSet(
        pixels=torch.from_numpy(found.images), labels=torch.from_numpy(found.labels),
        captions=torch.from_numpy(Tokenizer().encode(texts)).view(60, 5, -1),
    )  # fmt: skip
    told, seen = _styles(scenes), set()
    for row, scene in enumerate(SCENES[:60]):
        own = torch.from_numpy(style(scene))
        for number, text in enumerate(captions(scene)):
            turned = len(scene.others) == 2 and order(text, scene) == [1, 0]
            parts = own.split([OF_A_THING] * 3 + [STYLE - 3 * OF_A_THING])
            wanted = torch.cat([parts[0], parts[2], parts[1], parts[3]]) if turned else own
            assert torch.equal(told[row, number].nan_to_num(-1), wanted.nan_to_num(-1))
            seen.add(turned)
    assert seen == {True, False}
