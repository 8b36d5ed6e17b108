"""The numbers that no sentence tells: uniform over the world, and in the order of a caption."""

import numpy as np
import torch

from secondlook.scenes.captions import captions
from secondlook.scenes.sampling import sample
from secondlook.scenes.source import render_batch
from secondlook.scenes.tokenizer import Tokenizer
from secondlook.scenes.training.dataset import SceneSet
from secondlook.scenes.training.painter import PER_OBJECT, STYLE_SIZE, _styles, style_code
from secondlook.scenes.world import Scene

SCENES = [sample(0, "train", row) for row in range(300)]


def test_each_number_is_uniform_between_nothing_and_one() -> None:
    found = np.stack([style_code(scene) for scene in SCENES])
    assert found.shape == (300, STYLE_SIZE)
    assert np.nanmin(found) >= 0
    assert np.nanmax(found) <= 1
    assert np.allclose(np.nanmean(found, 0), 0.5, atol=0.12)
    assert np.allclose(np.nanstd(found, 0), 12**-0.5, atol=0.06)


def test_a_thing_that_is_not_there_has_no_numbers() -> None:
    for scene in SCENES[:60]:
        missing = np.isnan(style_code(scene)[: 3 * PER_OBJECT]).reshape(3, PER_OBJECT)
        assert missing.all(1).tolist() == missing.any(1).tolist()
        assert (~missing.all(1)).sum() == len(scene.objects)


def order(text: str, scene: Scene) -> list[int]:
    """The objects beside the main one, as a caption names them."""
    spoken = Tokenizer().decode(Tokenizer().encode([text]))[0].split()
    return sorted((0, 1), key=lambda each: spoken.index(scene.others[each].color))


def test_things_come_in_the_order_of_the_caption() -> None:
    found = render_batch(0, "train", range(60))
    texts = [text for five in found.captions for text in five]
    scenes = SceneSet(
        pixels=torch.from_numpy(found.images),
        labels=torch.from_numpy(found.labels),
        captions=torch.from_numpy(Tokenizer().encode(texts)).view(60, 5, -1),
    )
    told, seen = _styles(scenes), set()
    for row, scene in enumerate(SCENES[:60]):
        own = torch.from_numpy(style_code(scene))
        for number, text in enumerate(captions(scene)):
            turned = len(scene.others) == 2 and order(text, scene) == [1, 0]
            parts = own.split([PER_OBJECT] * 3 + [STYLE_SIZE - 3 * PER_OBJECT])
            wanted = torch.cat([parts[0], parts[2], parts[1], parts[3]]) if turned else own
            assert torch.equal(told[row, number].nan_to_num(-1), wanted.nan_to_num(-1))
            seen.add(turned)
    assert seen == {True, False}
