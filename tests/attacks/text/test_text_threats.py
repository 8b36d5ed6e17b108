"""What a caption may suffer: any word, what a language model would write, or what says the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch

from secondlook import registry
from secondlook.attacks.joint.alternating import Alternating
from secondlook.attacks.joint.sga import SGA
from secondlook.attacks.pairs import PairAttack, Pairs
from secondlook.attacks.text.bert_attack import BERTAttack
from secondlook.attacks.text.captions import synonyms
from secondlook.attacks.text.hotflip import HotFlip
from secondlook.attacks.text.meaning import Change, MeaningFilter
from secondlook.attacks.text.substitution import divergence
from secondlook.attacks.text.vocabulary import whole_words
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.scenes.parsing import preserves, verify
from secondlook.scenes.sampling import sample
from secondlook.tasks.retrieval import RetrievalTask
from secondlook.threat import Threat
from tests.pairs import WORDS, Bag, Table, keys, pairs

THREAT = Threat()
TEXTS = ("red cat on mat", "green dog", "dog on (mat)!", "red red cat")


def altered(text: str, make: Callable[..., PairAttack] = BERTAttack, **config: Any) -> str:
    given = Pairs(pairs(1).images, ((text,),))
    return make(mlm=Table(), text="free", **config)(Bag(), given, THREAT, keys(1)).captions[0][0]


def cosine(text: str) -> float:
    victim = Bag()
    return float(victim.embed(pairs(1).images)[0] @ victim.embed_text([text])[0])


def neighbors(text: str) -> list[str]:
    """All that any word of the vocabulary in place of any other makes of a text."""
    words = text.split()
    bare = [word.strip("(!)") for word in words]
    return [
        " ".join([*words[:at], words[at].replace(bare[at], new), *words[at + 1 :]])
        for at, new in itertools.product(range(len(words)), WORDS)
        if new != bare[at]
    ]


@pytest.mark.parametrize("text", TEXTS)
def test_free_is_the_best_of_all_that_one_word_can_do(text: str) -> None:
    assert altered(text) == min(neighbors(text), key=cosine)


@pytest.mark.parametrize("text", TEXTS)
def test_a_longer_shortlist_never_helps_the_defender(text: str) -> None:
    found = [cosine(altered(text, shortlist=count)) for count in (1, 2, 4, 64)]
    assert found == sorted(found, reverse=True)


def test_more_free_words_never_help_the_defender() -> None:
    found = [cosine(altered("red cat on mat", words=words)) for words in (1, 2, 3)]
    assert found == sorted(found, reverse=True) and found[0] > found[-1]


def test_away_from_itself_is_the_furthest_of_all() -> None:
    text, victim = "red cat on mat", Bag()
    said = victim.embed_text([text, *neighbors(text)])
    furthest = divergence(said[:1].expand_as(said), said)[1:]
    assert altered(text, guide="caption") == neighbors(text)[int(furthest.argmax())]


def test_free_does_not_depend_on_neighbors() -> None:
    given, attack = pairs(6), BERTAttack(mlm=Table(), text="free")
    together = attack(Bag(), given, THREAT, keys(6)).captions
    alone = [
        attack(Bag(), given.part(slice(row, row + 1)), THREAT, keys(6)[row : row + 1]).captions[0] for row in range(6)
    ]
    assert list(together) == alone


def test_hotflip_puts_in_one_word_of_the_vocabulary_and_reads_none() -> None:
    found, text = altered("red cat on mat", HotFlip), "red cat on mat"
    assert found in neighbors(text) and cosine(found) < cosine(text)
    assert cosine(found) >= cosine(altered(text))


def test_images_take_thirty_steps_where_words_are_free() -> None:
    assert [SGA(text=text).image_steps for text in ("free", "mlm", "meaning-preserving")] == [30, 10, 10]
    assert SGA(text="free", steps=50).image_steps == 50


class Other(Table):
    """A language model of other words."""

    def detokenize(self, ids: Sequence[int]) -> str:
        return " ".join(f"wort{number}" for number in ids)


def test_a_vocabulary_of_another_tokenizer_is_told() -> None:
    with pytest.raises(InvalidInput, match="another tokenizer: bag does not know 9 of its 9 words, 'wort5'"):
        BERTAttack(mlm=Other(), text="free")(Bag(), pairs(), THREAT, keys())


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"text": "synonyms"}, "synonyms"),
        ({"text": "free", "legacy": True}, "text='free'"),
        ({"text": "free", "shortlist": 0}, "shortlist=0"),
        ({"text": "meaning-preserving", "words": 0}, "words=0"),
    ],
)
@pytest.mark.parametrize("name", ["bert-attack", "hotflip", "sep-attack", "co-attack", "sga", "alternating"])
def test_a_threat_that_is_none_is_told(name: str, config: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        registry.build("pair attack", name, {"mlm": Table(), **config})


@pytest.mark.parametrize("text", ["free", "mlm", "meaning-preserving"])
@pytest.mark.parametrize("make", [BERTAttack, HotFlip])
def test_captions_without_a_word_that_can_change_are_counted(make: Callable[..., PairAttack], text: str) -> None:
    given = Pairs(pairs(1).images, (("!? ...", "--"),))
    found = make(mlm=Table(), text=text)(Bag(), given, THREAT, keys(1))
    assert found.captions == given.captions
    assert found.notices == ("2 of 2 captions stay as they are: nothing could stand for their words",)


def scenes(count: int) -> Pairs:
    return RetrievalTask(samples=count).open().read(range(count), (64, 64)).pairs


def test_what_preserves_the_meaning_stays_true_of_its_scene() -> None:
    task = RetrievalTask(samples=6).open()
    given = task.read(range(6), (64, 64))
    victim: Embedder = load("scenes:clip")
    found = Alternating(text="meaning-preserving", rounds=1, steps=2)(
        victim, given.pairs, Threat(eps=2 / 255), given.keys
    )
    changed = 0
    for row, olds, news in zip(given.rows, given.pairs.captions, found.captions, strict=True):
        for old, new in zip(olds, news, strict=True):
            assert verify(new, sample(0, "test", row)).whole
            differ = [(a, b) for a, b in zip(old.split(), new.split(), strict=True) if a != b]
            assert all(b.strip(",;") in synonyms()[a.strip(",;")] for a, b in differ)
            changed += bool(differ)
    assert changed > 20


def test_free_parts_scenes_further_than_mlm_and_that_further_than_synonyms() -> None:
    given, victim = scenes(3), load("scenes:clip")
    assert isinstance(victim, Embedder)
    far = []
    for text in ("free", "mlm", "meaning-preserving"):
        told = BERTAttack(text=text, visit="every")(victim, given, THREAT, keys(3)).captions
        own = victim.embed(given.images).repeat_interleave(5, 0)
        far.append(float((victim.embed_text([one for five in told for one in five]) * own).sum(1).mean()))
    assert far == sorted(far) and far[0] < far[1] - 0.02 and far[1] < far[2] - 0.1


def test_whoever_knows_the_image_is_asked_and_not_the_judge() -> None:
    text = "a big dog"
    for knows in (lambda old, new: True, lambda old, new: "large" in new):
        given = Pairs(pairs(1).images, ((text,),), (knows,))
        attack = BERTAttack(mlm=Table(), text="meaning-preserving", visit="every")
        (found,) = attack(Bag(), given, THREAT, keys(1)).captions[0]
        assert knows(text, found) or found == text


def test_a_filter_that_refuses_everything_is_said() -> None:
    given = pairs()._replace(preserves=(lambda old, new: False,) * 3)
    found = BERTAttack(mlm=Table(), text="meaning-preserving")(Bag(), given, THREAT, keys())
    assert found.captions == given.captions
    assert any("every word that was offered changes what they say" in notice for notice in found.notices)


def test_synonyms_alone_may_stand_and_only_if_the_judge_agrees() -> None:
    class Blind(Bag):
        def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
            return torch.ones(len(texts), 3)

    def change(old: str, new: str) -> Change:
        return Change(f"a {old} thing", f"a {new} thing", old, new)

    changes = [change("red", "blue"), change("big", "large"), change("fluffy", "furry")]
    assert MeaningFilter()(changes) == MeaningFilter(judge=Blind("blind"))(changes) == [False, True, False]
    assert MeaningFilter(judge=Blind("blind"), similarity=1.5)(changes) == [False, False, False]


def test_preserving_is_more_than_not_being_false() -> None:
    scene = sample(0, "test", 3)
    text = f"a {scene.main.size} {scene.main.color} {scene.main.shape}"
    keeps = partial(preserves, text, scene=scene)
    assert keeps(text)
    assert (
        not keeps(text.replace(scene.main.size, "nice")) and verify(text.replace(scene.main.size, "nice"), scene).whole
    )


def test_the_vocabulary_has_all_whole_words() -> None:
    assert whole_words(Table()) == WORDS
    mlm = load("scenes:mlm")
    assert len(whole_words(mlm)) == 87 and {"the", "red", "alone"} <= {*whole_words(mlm), "the"}  # type: ignore[arg-type]


def test_truths_are_one_for_each_image() -> None:
    with pytest.raises(InvalidInput, match="knows 1 of 3 images"):
        BERTAttack(mlm=Table())(Bag(), pairs()._replace(preserves=(lambda old, new: True,)), THREAT, keys())
