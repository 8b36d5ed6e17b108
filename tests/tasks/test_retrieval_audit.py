"""Retrieval audits: every rank reckoned by hand, second looks, odd captions, and what is shown."""

import io
import json
import re
from collections.abc import Callable, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from secondlook.audit.api import run_study
from secondlook.audit.finish import read_audit, write_page
from secondlook.audit.report import curves
from secondlook.audit.report.curves import panels
from secondlook.audit.report.svg import BOTTOM, TOP
from secondlook.audit.report.text import render
from secondlook.audit.report.words import measure, share
from secondlook.audit.store import Log
from secondlook.audit.study import parse
from secondlook.data.images import write_png
from secondlook.errors import InvalidInput
from secondlook.metrics.retrieval import asr, recall
from secondlook.models.base import Embedder
from secondlook.models.families.exported import WordTokenizer
from secondlook.schema import Audit, Cell, Metric
from secondlook.tasks.retrieval import VIEW
from secondlook.tasks.retrieval_search import check_readable, notices
from secondlook.tasks.view import compared
from tests.audit import dials
from tests.audit.conftest import DIALS, Make, Run
from tests.audit.report.test_page import parsed
from tests.audit.solid import SIDE

Record = dict[str, Any]
TASK = {"name": "retrieval", "data": "dials:10", "samples": 0}


@pytest.fixture
def audited(retrieval: Make, ran: Run) -> Callable[..., tuple[Path, Audit]]:
    """Runs the study, with changes, in a folder of its own."""
    return lambda **changes: ran(retrieval(**changes))


Audited = Callable[..., tuple[Path, Audit]]


def rows(folder: Path) -> dict[tuple[str, str], Record]:
    """Records by the setting of their row, ``clean`` or what is attacked, and image."""
    audit = json.loads((folder / "audit.json").read_text())
    settings = {cell["id"]: cell["settings"]["attack"].get("attacked", "clean") for cell in audit["cells"]}
    return {(settings[r["cell"]], r["sample"]): r for r in Log(folder / "records.jsonl")}


def reckoned(eps: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Unit vectors of all images and texts, clean and altered, reckoned without the package."""
    world = dials.Colors(10)
    colors = np.array(world.colors) / 255
    clean = colors - 128 / 255
    step = np.floor(255 * eps + 1e-6) / 255
    moved = np.clip(colors - step * np.sign(clean), 0, 1) - 128 / 255
    said = [[int(word) for word in text.split() if word.isdigit()] for text in world.texts]
    words = np.array(said, dtype=float)
    turned = words.copy()
    turned[:, 0] = 256 - turned[:, 0]
    vectors = {"clean": (clean, words / 255 - 128 / 255), "altered": (moved, turned / 255 - 128 / 255)}
    return {
        name: tuple(v / np.linalg.norm(v, axis=1, keepdims=True) for v in pair)  # type: ignore[misc]
        for name, pair in vectors.items()
    }


def rank(scores: np.ndarray, right: list[int]) -> int:
    """Among what is wrong, whatever is not clearly below the best that is right comes first."""
    wrong = np.delete(scores, right)
    return 1 + int((wrong > scores[right].max() - 1e-6).sum())


SIDES = {
    "clean": ("clean", "clean"),
    "query": ("altered", "clean"),
    "gallery": ("clean", "altered"),
    "both": ("altered", "altered"),
}


def test_every_rank_is_as_reckoned_by_hand(audited: Audited) -> None:
    folder, _ = audited()
    found, vectors, world = rows(folder), reckoned(40 / 255), dials.Colors(10)
    assert len(found) == 4 * 10
    for setting, (asks, answers) in SIDES.items():
        (images, texts), (other_images, other_texts) = vectors[asks], vectors[answers]
        for row, name in enumerate(world.ids):
            record = found[setting, name]
            own = [t for t, owner in enumerate(world.owner) if owner == row]
            assert record["image_to_text"] == rank(other_texts @ images[row], own)
            assert record["text_to_image"] == [rank(other_images @ texts[t], [row]) for t in own]
            alike = [t for t, rows in enumerate(world.positives) if row in rows]
            assert record["alike_image_to_text"] == rank(other_texts @ images[row], alike)
            assert record["alike_text_to_image"] == [
                rank(other_images @ texts[t], list(world.positives[t])) for t in own
            ]
    assert found["clean", "color-0"]["image_to_text"] == 2
    assert found["clean", "color-0"]["alike_image_to_text"] == 1
    assert any(found["both", name]["image_to_text"] > 1 for name in world.ids)


def recalls(audit: Audit) -> list[float]:
    return [cell.metrics["mean_recall"].value for cell in audit.cells]


def test_a_look_at_all_pairs_is_a_search_by_the_matcher(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearest colors beat nearest directions: what is moved a little is found again."""
    shown: list[int] = []
    original = dials.MatchingDial.encode_pairs

    def encode_pairs(self: Any, x: Any, texts: Any, pairs: Any) -> Any:
        if x.shape[-1] == SIDE:  # and no probe of who the model is
            shown.append(len(x))
        return original(self, x, texts, pairs)

    monkeypatch.setattr(dials.MatchingDial, "encode_pairs", encode_pairs)
    task = {"name": "retrieval", "data": "dials:10", "samples": 0}
    eps = {"eps": ["8/255"]}
    _, plain = audited(models=[f"{DIALS}:matching"], threat=eps, task=task)
    assert not shown
    _, anew = audited(models=[f"{DIALS}:matching"], threat=eps, task={**task, "rerank": 100})
    # In each of four rows ten images ask, ten are asked for, and some of them for the gallery.
    assert sum(shown) == 4 * (10 + 10 + 2 + 10)
    assert recalls(anew) != recalls(plain)
    turned = {words for texts in dials.Colors(10).texts for words in dials.turned((texts,))}
    assert len(turned) == 21
    query = next(c for c in anew.cells if c.settings["attack"].get("attacked") == "query")
    images = dials.Colors(10)
    right = 0
    for row, color in enumerate(images.colors):
        moved = [value - 8 * (1 if value > dials.GREY else -1) for value in color]
        away = [sum((a - b) ** 2 for a, b in zip(moved, other, strict=True)) for other in images.colors]
        right += min(range(10), key=away.__getitem__) == row
    # The caption that the second image shares with the first ties with the first one's own.
    assert query.metrics["alike_image_to_text_r1"].value == right / 10


def test_the_first_alone_are_ranked_anew(audited: Audited) -> None:
    task = {"name": "retrieval", "data": "dials:10", "samples": 0, "rerank": 1}
    _, one = audited(models=[f"{DIALS}:matching"], task=task)
    _, none = audited(models=[f"{DIALS}:matching"], task={**task, "rerank": 0})
    assert recalls(one) == recalls(none)


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


Save = Callable[..., str]


@pytest.fixture
def photos(tmp_path: Path, worlds: None) -> Save:
    """A Karpathy file over the colors, with the first image's captions changed."""
    source = dials.Colors(6)
    (tmp_path / "images").mkdir()
    held = source.read(range(6), (4, 4)).images
    texts = {f"{row}.png": list(source.captions(row)) for row in range(6)}
    for name, image in zip(texts, held, strict=True):
        write_png(tmp_path / "images" / name, image)

    def made(*captions: str, **more: list[str]) -> str:
        told = {**texts, "0.png": list(captions) or texts["0.png"], **more}
        entries = [
            {"filename": name, "split": "test", "sentences": [{"raw": t} for t in own]} for name, own in told.items()
        ]
        path = tmp_path / "set.json"
        path.write_text(json.dumps({"images": entries}), encoding="utf-8")
        return f"karpathy:{path}"

    return made


def searched(data: str, folder: Path, **task: Any) -> Audit:
    plain = {
        "name": "odd",
        "batch": 4,
        "examples": 1,
        "knowledge": ["clean", "adaptive"],
        "models": [f"{DIALS}:dial"],
        "threat": {"eps": ["40/255"]},
        "task": {"name": "retrieval", "data": data, "samples": 0, "attacked": ["both"], **task},
        "attacks": [{"name": "swap"}, {"name": "typos", "words": 1}],
    }
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
def test_odd_captions_are_searched_and_attacked(photos: Save, tmp_path: Path, text: str) -> None:
    found = searched(photos(text), tmp_path)
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
    photos: Save, tmp_path: Path, captions: tuple[str, ...], more: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        searched(photos(*captions, **more), tmp_path)


def test_a_caption_that_its_form_leaves_empty_is_an_error(photos: Save, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="caption 0 of image 0.png has no word; take it out"):
        searched(photos("...!"), tmp_path, form="sga")


def test_a_split_that_is_not_there_is_named_beside_those_that_are(photos: Save, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="has no split 'val'; it has test"):
        searched(f"{photos()}#val", tmp_path)


def test_the_clean_row_warns_of_what_was_not_read(
    photos: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        dials, "numbers", lambda text: [int(word) / 255 for word in text.split()[:24] if word.isdigit()]
    )
    found = searched(photos("red 9 green 20 blue 250 " + "and so on " * 9), tmp_path)
    clean, *attacked = found.cells
    (check,) = (c for c in clean.health if c.check == "inputs are read as written")
    assert check.status == "warn" and "1 of" in check.detail and "cut off" in check.detail
    assert not [c for cell in attacked for c in cell.health if "as written" in c.check]


def cell(audit: Audit, attacked: str) -> Cell:
    return next(c for c in audit.cells if c.settings["attack"].get("attacked") == attacked)


def test_figures_are_those_of_the_records_with_what_they_are_of(audited: Audited) -> None:
    folder, audit = audited()
    found, names = rows(folder), dials.Colors(10).ids
    names = tuple(sorted(names))
    for attacked in ("query", "gallery", "both"):
        made = cell(audit, attacked)
        for way in ("image_to_text", "text_to_image"):
            before, after = (
                [r if isinstance(r, list) else [r] for r in (found[s, n][way] for n in names)]
                for s in ("clean", attacked)
            )
            for k in (1, 5, 10):
                rate, lost = recall(after, k), asr(before, after, k)
                assert made.metrics[f"{way}_r{k}"].value == rate.interval.value
                assert made.denominators[f"{way}_r{k}"] == rate.of
                assert made.metrics[f"{way}_asr{k}"].value == pytest.approx(lost.interval.value, nan_ok=True)
                assert made.denominators[f"{way}_asr{k}"] == lost.of
        assert made.denominators["text_to_image_r1"] == 21
        assert made.outcomes.correct == made.metrics["image_to_text_r1"].value * 10
    changed = cell(audit, "both").metrics["words_changed"]
    assert (changed.value, changed.sd) == (1, 0)
    assert audit.provenance["captions that say what another image's does"] == 2


def test_captions_that_say_the_same_have_figures_where_there_are_such(audited: Audited) -> None:
    _, shared = audited()
    assert shared.cells[0].metrics["alike_image_to_text_r1"].value == 1
    assert shared.cells[0].metrics["image_to_text_r1"].value < 1
    # The second image, which bears the first one's caption as its third, is not among the first.
    task = {"name": "retrieval", "data": "dials:10", "samples": 0, "captions": 2}
    _, apart = audited(task=task)
    assert not [name for name in apart.cells[0].metrics if name.startswith("alike")]


def test_the_headline_is_the_worst_of_all_rows_search_by_search(audited: Audited) -> None:
    folder, audit = audited()
    (headline,) = audit.headline
    found, names = rows(folder), dials.Colors(10).ids
    settings = ("query", "gallery", "both")
    worst = [max(found[s, name]["success"] for s in settings) for name in names]
    assert headline.worst_reached is not None
    assert headline.worst_reached.value == pytest.approx(sum(worst) / 10)
    assert headline.status == "withheld"
    assert headline.reasons == [
        "adaptive: enough samples failed: n = 10; an interval may be 53 points wide; "
        "take n = 100 or more, 30 at the least"
    ]


def test_the_page_shows_searches_before_and_after(audited: Audited) -> None:
    folder, _ = audited()
    page = (folder / "report.html").read_text()
    read = parsed(page)
    assert read.open == [] and len(read.ids) == len(set(read.ids))
    assert all(a.startswith(("data:image/png;base64,", "#")) for a in read.addresses)
    text = " ".join(" ".join(read.text).split())
    assert "image to text ASR@1" in text and "of 21" in text
    gallery = json.loads((folder / "gallery.json").read_text())
    assert [wall["attacked"] for wall in gallery] == ["both", "both"]
    first = gallery[0]
    changed = [word["text"] for word in first["altered"] if word["changed"]]
    assert len(changed) == 1 and f"<mark>{changed[0]}</mark>" in page
    assert len(first["texts_before"]) == len(first["images_after"]) == 5
    assert first["texts_before"][0]["right"] and first["images_before"][0]["right"]
    # Written anew from what lies there, it is the same page.
    assert write_page(folder).read_text() == page


def test_the_gallery_shows_the_side_that_is_searched(audited: Audited) -> None:
    task = {"name": "retrieval", "data": "dials:10", "samples": 0, "attacked": ["query"]}
    for attacked, marked in (("query", False), ("both", True)):
        folder, _ = audited(task={**task, "attacked": [attacked]})
        (first, *_) = json.loads((folder / "gallery.json").read_text())
        found = [word["changed"] for hit in first["texts_after"] for word in hit["words"]]
        assert any(found) == marked


def test_the_console_says_it_in_a_table(audited: Audited) -> None:
    folder, _ = audited()
    held = io.StringIO()
    render(read_audit(folder), Console(file=held, width=120))
    text = held.getvalue()
    assert "attacked: gallery" in text and "R@1, %" in text and "adaptive" in text


def test_attackers_are_set_side_by_side_over_eps(audited: Audited) -> None:
    _, audit = audited(threat={"eps": ["8/255", "40/255"]})
    (panel,) = panels(audit.cells)
    assert [column.metric for column in panel.columns] == ["image_to_text_r1", "text_to_image_r1"]
    assert [line.xs for line in panel.lines] == [(8 / 255, 40 / 255)] * 3


def test_every_attacker_has_a_curve_for_each_cut_and_direction(audited: Audited) -> None:
    folder, audit = audited(threat={"eps": ["8/255", "40/255"]})
    found = [sweep for sweep, _ in curves.charted(audit.cells)]
    assert [curve.xs for curve in found] == [(0.0, 8 / 255, 40 / 255)] * 3
    assert {curve.cells[0].knowledge for curve in found} == {"clean"}
    both = next(c for c in found if c.cells[-1].settings["attack"]["attacked"] == "both")
    for curve in VIEW.curves:
        way = curve.title.replace(" ", "_")
        drawn = curves.several(both, curve)
        assert [f">R@{k}<" in drawn for k in (1, 5, 10)] == [True] * 3
        assert drawn.count("<circle") == 9 and drawn.count('class="band') == 3
        for cell in both.cells:
            assert share(cell.metrics[f"{way}_r5"], cell.n) in drawn
    page = (folder / "report.html").read_text()
    assert page.count(curves.several(both, VIEW.curves[1])) == 1


def test_one_budget_is_no_curve(audited: Audited) -> None:
    folder, audit = audited()
    assert not curves.charted(audit.cells)
    assert "gainst the attacker’s budget" not in (folder / "report.html").read_text()


def test_recalls_stand_at_their_height(audited: Audited) -> None:
    _, audit = audited(threat={"eps": ["8/255", "40/255"]})
    curve = curves.charted(audit.cells)[0][0]
    drawn = curves.several(curve, VIEW.curves[0])
    value = curve.cells[-1].metrics["image_to_text_r1"].value
    height = BOTTOM - value * (BOTTOM - TOP)
    spots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn)
    assert float(spots[8][1]) == pytest.approx(height, abs=0.01)
    assert [float(x) for x, _ in spots[:3]] == sorted(float(x) for x, _ in spots[:3])


def checks(made: Cell) -> dict[str, str]:
    return {check.check: check.status for check in made.health}


def test_checks_of_an_attack_that_attacks(audited: Audited) -> None:
    _, audit = audited()
    found = checks(cell(audit, "both"))
    assert found["succeeds without a bound"] == "pass"
    assert found["loss rises"] == "pass"
    assert found["enough samples"] == "fail"
    assert "succeeds without a bound" not in checks(cell(audit, "gallery"))


def test_checks_of_one_that_does_not(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    search = dials.Swap.search

    def idle(self: Any, victims: Any, pairs: Any, threat: Any, keys: Any) -> Any:
        made = search(self, victims, pairs, threat, keys)
        return made._replace(images=pairs.images, captions=pairs.captions)

    monkeypatch.setattr(dials.Swap, "search", idle)
    _, audit = audited()
    assert checks(cell(audit, "both"))["succeeds without a bound"] == "fail"


def test_a_surrogate_that_is_the_victim_is_no_transfer(audited: Audited) -> None:
    name = f"{DIALS}:dial"
    _, audit = audited(surrogates=[name], knowledge=["clean", "transfer"])
    assert checks(cell(audit, "both"))["surrogate is another model"] == "fail"


def test_more_of_the_budget_must_not_help(audited: Audited) -> None:
    _, audit = audited(threat={"eps": ["8/255", "40/255"]})
    found = [checks(c) for c in audit.cells if c.threat.eps > 0.1]
    assert {each["more eps does not help the defender"] for each in found} <= {"pass", "warn"}


def test_a_share_of_nothing_is_written_and_read_again(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that finds nothing has nothing to lose: its ASR is of no search."""
    monkeypatch.setattr(dials.Dial, "encode_image", lambda self, x: 0 * x[:, :, 0, 0])
    folder, audit = audited(knowledge=["clean", "adaptive"])
    attacked = cell(audit, "both")
    assert attacked.denominators["image_to_text_asr1"] == 0
    again = cell(read_audit(folder), "both")
    assert isnan(again.metrics["image_to_text_asr1"].value)
    assert again.metrics["image_to_text_r1"] == attacked.metrics["image_to_text_r1"]
    assert parsed(write_page(folder).read_text()).open == []


def test_how_figures_are_written() -> None:
    figure = Metric(value=0.25, low=0.1, high=0.5)
    assert VIEW.column("text_to_image_r10").title == "text to image R@10"
    assert VIEW.column("alike_image_to_text_r1").title == "image to text R@1, captions alike"
    assert measure(VIEW.column("image_to_text_asr1"), figure, 100) == "25 % [10, 50]"
    assert measure(VIEW.column("image_to_text_drop5"), figure, 100) == "+25.0 [+10.0, +50.0] points"
    assert measure(VIEW.column("mean_recall"), figure, 100) == "25 % [10, 50]"


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [
        ("a red star", "a blue star", ["blue"]),
        ("a red star", "a red star", []),
        ("a star", "a very big star", ["very", "big"]),
        ("the the cat", "the cat", []),
    ],
)
def test_marked_words(before: str, after: str, marked: list[str]) -> None:
    assert [word.text for word in compared(before, after) if word.changed] == marked


def test_captions_that_became_false_of_their_scene_are_counted(tmp_path: Path, ran: Run) -> None:
    study = {
        "name": "false-captions",
        "models": ["scenes:clip"],
        "knowledge": ["clean", "adaptive"],
        "task": {"name": "retrieval", "data": "scenes:test", "samples": 3, "attacked": ["both"]},
        "threat": {"eps": ["2/255"]},
        "attacks": [{"name": "bert-attack", "text": ["mlm", "meaning-preserving"]}],
    }
    folder, audit = ran(parse(study, "the test"))
    clean, mlm, synonyms = audit.cells
    assert "false_captions" not in clean.metrics
    assert (synonyms.metrics["false_captions"].value, mlm.metrics["changed_captions"].value) == (0, 1)
    records = [r for r in Log(folder / "records.jsonl") if r["cell"] == mlm.id]
    assert mlm.denominators["false_captions"] == 15
    assert mlm.metrics["false_captions"].value == pytest.approx(
        sum(sum(record["false_captions"]) for record in records) / 15
    )
    assert mlm.metrics["false_captions"].value > 0.8
