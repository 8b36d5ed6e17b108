"""A language model of captions of one's own: read, divided, trained, resumed, and asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from secondlook.attacks.text.bert_attack import BERTAttack
from secondlook.errors import InvalidInput, UnknownName
from secondlook.models import load
from secondlook.models.maskedlm import MaskedLM
from secondlook.scenes.training import own_captions as training
from secondlook.scenes.training.loop import Recipe
from secondlook.scenes.training.own_captions import (
    NAME,
    CaptionTexts,
    hold_out,
    read,
    train_captions,
    vocabulary,
    without,
)

ANIMALS = ("cat", "dog", "bird", "horse")
PLACES = ("grass", "sand", "water")
TEXTS = tuple(
    f"A {animal} {doing} on the {place} ."
    for animal in ANIMALS
    for doing in ("runs", "sits", "sleeps")
    for place in PLACES
)
RECIPE = Recipe(steps=150, batch=24, rate=1e-2, seed=3)


def silent(done: int, of: int, what: str) -> None:
    """Nobody watches."""


def told(texts: tuple[str, ...] = TEXTS, each: int = 3) -> CaptionTexts:
    return CaptionTexts(texts=texts, images=tuple(f"{row // each}.jpg" for row in range(len(texts))))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("captions") / "captions.csv"
    lines = [f"{image},{text}" for image, text in zip(told().images, told().texts, strict=True)]
    path.write_text("\n".join(["image,caption", *lines]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def card(file: Path) -> dict[str, Any]:
    """Of a model that lies beside the captions that it was trained on."""
    return train_captions(str(file), file.parent, test="", device="cpu", tick=silent, recipe=RECIPE)


def test_captions_come_from_lines_a_table_or_any_data(file: Path, tmp_path: Path) -> None:
    table = read(str(file))
    assert table.texts == TEXTS and table.images[:4] == ("0.jpg", "0.jpg", "0.jpg", "1.jpg")
    plain = tmp_path / "plain.txt"
    plain.write_text("\n\n".join(TEXTS), encoding="utf-8")
    assert read(str(plain)) == CaptionTexts(texts=TEXTS, images=TEXTS)
    assert read(f"csv:{file}") == table
    with pytest.raises(InvalidInput, match="no file .*a caption a line"):
        read(str(tmp_path / "none.txt"))
    with pytest.raises(UnknownName, match="csv"):
        read(f"csw:{file}")


def test_what_is_measured_on_is_not_trained_on() -> None:
    whole = told((*TEXTS, "a CAT runs on the grass"), each=1)
    test = CaptionTexts(texts=(TEXTS[0],), images=("5.jpg",))
    left = without(whole, test)
    assert set(whole.images) - set(left.images) == {"0.jpg", "5.jpg", f"{len(TEXTS)}.jpg"}
    held = hold_out(told(each=1), seed=0)
    assert 1 <= len(held) <= 2 and held == hold_out(told(each=1), seed=0)
    assert hold_out(told(tuple(reversed(TEXTS)), each=1), seed=0).images == tuple(
        name for name in told(each=1).images if name in held.images
    )
    images = hold_out(told(each=3), seed=0).images
    assert len(set(images)) == 1 and len(images) == 3


def test_rare_words_are_left_out_of_the_vocabulary() -> None:
    assert vocabulary(("A dog, a DOG", "one dog"), floor=2) == ("a", "dog")
    with pytest.raises(InvalidInput, match="3 times or more in 1 captions"):
        vocabulary(("a dog",))


def test_it_learns_and_its_card_tells_on_how_many_it_was_measured(card: dict[str, Any], file: Path) -> None:
    held = hold_out(told(), RECIPE.seed)
    assert card["measured"]["n"] == len(held) == 3
    assert card["recipe"]["images"] == len(TEXTS) - 3
    assert card["measured"]["masked_top10"] == 1
    assert set(ANIMALS) <= set(card["architecture"]["words"])
    assert card["command"] == f"secondlook train {NAME} --data {file}"
    names = {path.name for path in file.parent.iterdir()}
    assert names == {"captions.csv", f"{NAME}.json", f"{NAME}.safetensors"}
    assert json.loads((file.parent / f"{NAME}.json").read_text()) == card
    assert "words.weight" in load_file(file.parent / f"{NAME}.safetensors")


def model(file: Path) -> MaskedLM:
    found = load(f"local:{file.parent}/{NAME}")
    assert isinstance(found, MaskedLM)
    return found


def test_by_its_path_it_fills_gaps_with_words_of_the_captions(card: dict[str, Any], file: Path) -> None:
    mlm = model(file)
    pieces = mlm.tokenize(["A dog runs on the sand."])
    shown = pieces.ids.clone()
    shown[0, 2] = mlm.mask_id
    best = mlm.logits(shown, pieces.mask)[0, 2].topk(len(ANIMALS)).indices.tolist()
    assert {mlm.detokenize([number]) for number in best} == set(ANIMALS)


def test_words_that_it_does_not_know_are_no_trouble(card: dict[str, Any], file: Path) -> None:
    mlm = model(file)
    pieces = mlm.tokenize(["\U0001f600 כלב", "zebra " * 80, "dog"])
    assert bool(mlm.logits(pieces.ids, pieces.mask).isfinite().all())
    assert pieces.ids.shape[1] == 48


def test_the_word_attack_takes_its_candidates(card: dict[str, Any], file: Path) -> None:
    attack = BERTAttack(mlm=f"local:{file.parent}/{NAME}", threshold=0.0, candidates=4)
    (options,) = attack.proposals.options(["a dog runs on the sand"])
    assert set(ANIMALS) & set(options[1]) - {"dog"}


def test_a_killed_training_ends_where_an_uninterrupted_one_does(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, steps=6)

    def run(out: str, kill: int) -> bytes:
        real, asked = training.masked_cross_entropy, [0]

        def dying(*args: Any) -> torch.Tensor:
            if asked[0] == kill:
                raise KeyboardInterrupt
            asked[0] += 1
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(training, "masked_cross_entropy", dying)
            train_captions(str(file), tmp_path / out, test="", device="cpu", tick=silent, recipe=recipe)
        return (tmp_path / out / f"{NAME}.safetensors").read_bytes()

    whole = run("whole", -1)
    save = training.Training.run
    monkeypatch.setattr(training.Training, "run", lambda self, loss, n, tick: save(self, loss, n, tick, every=2))
    with pytest.raises(KeyboardInterrupt):
        run("killed", 5)
    assert (tmp_path / "killed" / f"{NAME}.checkpoint").is_file()
    assert run("killed", -1) == whole


def test_data_that_cannot_train_is_told(file: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange.txt"
    strange.write_text("zebra giraffe\n", encoding="utf-8")
    for data, test, said in (
        ("", "", "add --data"),
        (str(strange), "", "leaves no caption"),
        (str(file), str(file), "leaves no caption"),
        (str(file), str(strange), "no caption with a known word"),
    ):
        with pytest.raises(InvalidInput, match=said):
            train_captions(data, tmp_path, test=test, device="cpu", tick=silent)
