"""Captions out of the ordinary: refused before anything is crafted, or a warning in the result."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.audit.api import run_study
from secondlook.audit.retrieval.reading import check_readable, notices
from secondlook.audit.schema import Audit
from secondlook.audit.study import parse
from secondlook.data.images import write_png
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder
from secondlook.models.words import WordTokenizer
from tests.audit.retrieval import dials

LONG = " ".join(f"word{n}" for n in range(30))


class Counter(Embedder):
    """A text is its first words, each at its place; unknown ones are all one."""

    name = "counter"

    def __init__(self, context: int = 24) -> None:
        self.context = context
        known = {f"word{n}": n + 2 for n in range(40)} | {"cat": 50, "dog": 51}
        self.tokenizer = WordTokenizer(
            vocabulary=known, pattern=r"\w+", lowercase=True, length=context, pad=0, unknown=1
        )

    def encode_image(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, : self.context]

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return F.one_hot(self.tokenizer.encode(texts), 60).flatten(1).float()


def told(*texts: str, owner: Sequence[int] = ()) -> list[str]:
    model = Counter()
    vectors = F.normalize(model.encode_text(texts), dim=-1)
    return notices(model, texts, owner or range(len(texts)), vectors)


def test_captions_longer_than_the_context_are_counted() -> None:
    (found,) = told(LONG, "cat", LONG.replace("word0", "cat"))
    assert found.startswith("2 of 3 captions are longer than counter reads")
    # To the last word that fits it is read, and 24 fit.
    assert told(" ".join(LONG.split()[:24]), "cat") == []


def test_captions_that_are_one_to_the_model_are_counted() -> None:
    (found,) = told("a zebra", "dog", "the \u05db\u05dc\u05d1", "cat", "a zebra")
    assert "3 of 5 captions have the vector of another image's caption" in found
    # The same words are no surprise, nor are an image's own captions.
    assert told("Cat!", "cat", "dog") == []
    assert told("a zebra", "the horse", "dog", owner=(0, 0, 1)) == []


def test_what_a_model_cannot_read_is_named_with_its_image() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_readable(Counter(), ("a.png", "b.png"), (("cat",), ("dog", "\U0001f600 !")))
    said = str(caught.value)
    assert "caption 1 of image b.png cannot be read by counter" in said and "take it out" in said
    check_readable(Counter(), ("a.png",), (("\u05db\u05dc\u05d1 \U0001f600", "cat"),))


Make = Callable[..., str]


@pytest.fixture
def photos(tmp_path: Path) -> Make:
    """A Karpathy file over the colours, with the first image's captions changed."""
    source = dials.Colours(6)
    (tmp_path / "images").mkdir()
    held = source.read(range(6), (4, 4)).images
    texts = {f"{row}.png": list(source.captions(row)) for row in range(6)}
    for name, image in zip(texts, held, strict=True):
        write_png(tmp_path / "images" / name, image)

    def made(*captions: str, **more: list[str]) -> str:
        told = {**texts, "0.png": list(captions) or texts["0.png"], **more}
        entries = [
            {"filename": name, "split": "test", "sentences": [{"raw": t} for t in own]}
            for name, own in told.items()
        ]
        path = tmp_path / "set.json"
        path.write_text(json.dumps({"images": entries}), encoding="utf-8")
        return f"karpathy:{path}"

    return made


def audited(data: str, folder: Path, **task: Any) -> Audit:
    plain = {
        "name": "odd", "batch": 4, "exhibits": 1, "knowledge": ["clean", "adaptive"],
        "models": ["python:tests.audit.retrieval.dials:dial"], "threat": {"eps": ["40/255"]},
        "task": {"name": "retrieval", "data": data, "samples": 0, "attacked": ["both"], **task},
        "attacks": [{"name": "swap"}, {"name": "typos", "words": 1}],
    }  # fmt: skip
    return run_study(parse(plain, "the test"), folder / "run")


@pytest.mark.parametrize(
    "text",
    [
        "9 20 250",
        "red 9 \U0001f600 green 20 blue 250",
        "\u05d0\u05d3\u05d5\u05dd 9 green 20 \u05db\u05d7\u05d5\u05dc 250",
        "red 9 green 20\nblue 250",
        "red 9 green 20 blue 250 " + "and so on " * 100,
    ],
)
def test_odd_captions_are_searched_and_attacked(photos: Make, tmp_path: Path, text: str) -> None:
    found = audited(photos(text), tmp_path)
    assert [cell.n for cell in found.cells] == [6, 6, 6]
    for cell in found.cells:
        assert torch.tensor([m.value for m in cell.metrics.values()]).isfinite().all()
    assert found.cells[0].denominators["image_to_text_r1"] == 6


@pytest.mark.parametrize(
    ("captions", "more", "said"),
    [
        (("",), {}, r"images\[0\].sentences\[0\]: 'raw' is ''; write the text"),
        (("  \n ",), {}, r"'raw' is '  \\n '; write the text, or take the entry away"),
        ((), {"1.png": []}, r"images\[1\]: 'sentences' is empty; write one or take the image away"),
        ((), {"9.png": ["red 1"]}, r"names image 9.png, which is not in .*images.*\(1 of 7"),
    ],
)
def test_broken_captions_are_errors_with_their_mend(
    photos: Make, tmp_path: Path, captions: tuple[str, ...], more: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        audited(photos(*captions, **more), tmp_path)


def test_a_caption_that_its_form_leaves_empty_is_an_error(photos: Make, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="caption 0 of image 0.png has no word; take it out"):
        audited(photos("...!"), tmp_path, form="sga")


def test_a_split_that_is_not_there_is_named_beside_those_that_are(
    photos: Make, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="has no split 'val'; it has test"):
        audited(f"{photos()}#val", tmp_path)


def test_the_clean_row_warns_of_what_was_not_read(
    photos: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dials, "numbers", lambda text: [
        int(word) / 255 for word in text.split()[:24] if word.isdigit()
    ])  # fmt: skip
    found = audited(photos("red 9 green 20 blue 250 " + "and so on " * 9), tmp_path)
    clean, *attacked = found.cells
    (check,) = (c for c in clean.health if c.check == "captions are read as written")
    assert check.status == "warn" and "1 of" in check.detail and "cut off" in check.detail
    assert not [c for cell in attacked for c in cell.health if "as written" in c.check]
