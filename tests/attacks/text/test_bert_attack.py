"""The search over words, against all that there is to search on a bag of words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from secondlook import registry
from secondlook.attacks.edits import edits
from secondlook.attacks.pairs import Pairs
from secondlook.attacks.text.bert_attack import BERTAttack
from secondlook.attacks.text.candidates import CandidateRules, Candidates, parse
from secondlook.attacks.text.captions import Word, part, similarity, stop_words
from secondlook.errors import InvalidInput
from secondlook.threat import Threat
from tests.pairs import Bag, Table, keys, pairs

THREAT = Threat()


def one(text: str) -> Pairs:
    return Pairs(pairs(1).images, ((text,),))


def altered(text: str, **config: Any) -> str:
    config = {"mlm": Table(), **config}
    return BERTAttack(**config)(Bag(), one(text), THREAT, keys(1)).captions[0][0]


def cosine(text: str) -> float:
    victim, image = Bag(), pairs(1).images
    return float(victim.embed(image)[0] @ victim.embed_text([text])[0])


def neighbors(text: str, words: int) -> Iterator[str]:
    (draft,) = parse([text], Candidates(Table(), CandidateRules()))
    choices = [(word, *options) for word, options in zip(draft.words, draft.options, strict=True)]
    for chosen in itertools.product(*choices):
        if sum(a != b for a, b in zip(draft.words, chosen, strict=True)) <= words:
            yield " ".join(chosen)


TEXTS = ("red cat on mat", "green dog", "dog on mat", "red red cat", "green cat on red mat")


@pytest.mark.parametrize("text", TEXTS)
def test_every_place_is_the_best_of_all_that_one_word_can_do(text: str) -> None:
    best = min(neighbors(text, 1), key=cosine)
    assert altered(text, visit="every") == best
    assert cosine(best) <= cosine(altered(text)) <= cosine(text)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("visit", ["importance", "every"])
def test_more_words_and_candidates_never_help_the_defender(text: str, visit: str) -> None:
    found = [cosine(altered(text, words=words, visit=visit)) for words in (1, 2, 3)]
    assert found == sorted(found, reverse=True)
    fewer = [cosine(altered(text, candidates=k, visit="every")) for k in (1, 2, 3, 10)]
    assert fewer == sorted(fewer, reverse=True)


def test_the_most_important_word_goes_first() -> None:
    # Without "red" the vector turns furthest; "cat" is a smaller part of it.
    assert altered("red cat on mat").split()[1:] == ["cat", "on", "mat"]


def test_a_word_that_helps_nothing_is_passed_over() -> None:
    image = torch.zeros(1, 3, 4, 4)
    image[:, 0] = 200 / 255
    given = Pairs(image, (("green cat",),))
    # All that "green" could become is as far from red; "cat" has red in it.
    found = BERTAttack(mlm=Table())(Bag(), given, THREAT, keys(1)).captions[0][0]
    victim = Bag()
    assert float(victim.embed(image)[0] @ victim.embed_text([found])[0]) < float(
        victim.embed(image)[0] @ victim.embed_text(["green cat"])[0]
    )


def test_away_from_itself_is_away_from_what_it_said() -> None:
    victim, text = Bag(), "red cat"
    found = altered(text, guide="caption", visit="every")
    said = victim.embed_text([text, *neighbors(text, 1)])
    furthest = F.kl_div(said.log_softmax(1), said[:1].softmax(1).expand_as(said), reduction="none").sum(1)
    assert found == list(neighbors(text, 1))[int(furthest[1:].argmax())]


def test_stop_words_stay_and_are_never_put_in() -> None:
    assert {"the", "on", "of", "?", ","} <= stop_words()
    assert not {"two", "near", "red"} & stop_words()
    (draft,) = parse(["red on mat"], Candidates(Table(), CandidateRules()))
    assert draft.options == (("green", "blue"), (), ("cat",))


def test_the_marks_around_a_word_stay() -> None:
    assert part("(cat)!") == Word("(", "cat", ")!")
    assert part("\U0001f600") == Word("\U0001f600", "", "")
    assert part("t-shirt") == Word("", "t-shirt", "")
    found = {altered("a (red), mat!", visit=visit) for visit in ("importance", "every")}
    assert found <= {"a (green), mat!", "a (blue), mat!", "a (red), cat!"}


def test_legacy_takes_the_token_before() -> None:
    (draft,) = parse(["red cat mat"], Candidates(Table(), CandidateRules(preceding=True)))
    # The mark before "red" finds nothing likely; before "cat" stands "red", and so on.
    assert draft.options == ((), ("red", "green", "blue"), ("cat", "dog", "bird"))


def test_a_threshold_is_of_the_raw_score() -> None:
    model = Table()
    (draft,) = parse(["red cat"], Candidates(model, CandidateRules(threshold=7.5)))
    assert draft.options == (("green",), ("dog",))
    (draft,) = parse(["red cat"], Candidates(model, CandidateRules(threshold=0, top=3)))
    assert draft.options == (("green", "blue"), ("dog", "bird"))


def test_a_sentence_is_shown_to_the_language_model_once() -> None:
    model = Table()
    attack = BERTAttack(mlm=model)
    given = pairs(6)
    attack(Bag(), given, THREAT, keys(6))
    texts = {text for row in given.captions for text in row}
    assert model.passes == len(texts)
    attack(Bag(), given, Threat(eps=1 / 255), keys(6))
    assert model.passes == len(texts)


def test_each_caption_is_read_once_a_round() -> None:
    victim = Bag()
    BERTAttack(mlm=Table(), visit="every")(victim, pairs(6), THREAT, keys(6))
    assert len(victim.read) == len(set(victim.read))


def test_surrogates_are_summed() -> None:
    given, twins = one("red cat on mat"), [Bag(), Bag("bag:two", turn=1)]
    found = BERTAttack(mlm=Table(), visit="every")(twins, given, THREAT, keys(1)).captions[0][0]

    def both(text: str) -> float:
        return sum(float(v.embed(given.images)[0] @ v.embed_text([text])[0]) for v in twins)

    assert found == min(neighbors("red cat on mat", 1), key=both)


def test_similarity_and_distance_hold_candidates_back() -> None:
    text = "red cat on mat"
    free, judge = altered(text, visit="every"), Bag("bag:judge")
    assert similarity([text], [free], judge)[0] < 0.9
    held = altered(text, visit="every", judge=judge, similarity=0.9)
    assert held != free
    assert similarity([text], [held], judge)[0] >= 0.9
    assert altered(text, judge=judge, similarity=1.1) == text
    near = altered(text, visit="every", distance=3)
    assert edits(text, near) <= 3
    assert altered("red cat", distance=2) == "red cat"


@pytest.mark.parametrize("name", ["bert-attack", "hotflip", "sga"])
def test_a_victim_does_not_judge_itself(name: str) -> None:
    config = {"mlm": Table(), "judge": Bag(), "similarity": 0.5}
    with pytest.raises(InvalidInput, match="is attacked itself"):
        registry.build("pair attack", name, config)(Bag(), pairs(), THREAT, keys())


def test_similarity_is_the_cosine_by_the_judge() -> None:
    before, after = Bag().embed_text(["a red cat"]), Bag().embed_text(["a red dog"])
    (found,) = similarity(["a red cat"], ["a red dog"], Bag())
    assert found == pytest.approx(float((before * after).sum()))
    assert similarity([], [], Bag()) == ()


@pytest.mark.parametrize("text", ["\U0001f600", "\U0001f600 !!", "מחתול אדום", "unknown", "on", "ein 日本語 テキスト"])
def test_a_caption_without_candidates_stays_and_is_counted(text: str) -> None:
    found = BERTAttack(mlm=Table())(Bag(), one(text), THREAT, keys(1))
    assert found.captions == ((text,),)
    assert found.notices == ("1 of 1 captions stay as they are: nothing could stand for their words",)


def test_one_word_and_very_long_captions() -> None:
    assert altered("cat") in ("dog", "bird")
    long = " ".join(["mat"] * 30 + ["red"])
    # The table reads eight words; what is behind them stays.
    assert altered(long).split()[8:] == long.split()[8:]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"candidates": 0}, "candidates=0"),
        ({"visit": "all"}, "visit='all'"),
        ({"guide": "word"}, "guide='word'"),
        ({"similarity": 0.5}, "needs a judge"),
    ],
)
def test_settings_that_mean_nothing_are_told(config: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        BERTAttack(**config)


def test_models_of_another_kind_are_told() -> None:
    with pytest.raises(InvalidInput, match="fills no gaps"):
        BERTAttack(mlm="scenes:clip")(Bag(), pairs(), THREAT, keys())
    with pytest.raises(InvalidInput, match="embeds no texts"):
        BERTAttack(mlm=Table(), judge="scenes:mlm", similarity=0.5)(Bag(), pairs(), THREAT, keys())


def test_the_shipped_models_go_together() -> None:
    attack = registry.build("pair attack", "bert-attack", {})
    from secondlook.models import load

    text = "a small red circle on the left, on a plain blue background"
    found = attack(load("scenes:clip"), one(text), THREAT, keys(1)).captions[0][0]
    assert found != text
    assert len(found.split()) == len(text.split())
