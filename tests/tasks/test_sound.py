"""Audits of sounds: budgets, ratios in each row, stored samples, players; and what does not fit."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from secondlook import data
from secondlook.audit.adversarial import AdversarialSet
from secondlook.audit.api import run_study
from secondlook.audit.study import parse, read
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.randomness import Keys
from secondlook.scenes.models.sound import SoundEmbedder
from secondlook.signals import SOUND, decibels
from secondlook.tasks.sound import SoundTask, playable
from secondlook.threat import Threat


def table(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "name": "sounds",
        "title": "Sounds",
        "models": ["scenes:bind"],
        "knowledge": ["clean", "adaptive"],
        "batch": 3,
        "rescore": 1,
        "examples": 1,
        "diagnosed": 0,
        "task": {"name": "sound", "samples": 3},
        "threat": {"norm": "linf", "eps": ["0.002"]},
        "attack": {"name": "pgd", "steps": 12, "momentum": 0.75, "objective": "cosine"},
        "defenses": [{"name": "undefended"}, {"name": "noise", "sigma": 0.0005, "samples": 2}],
    }
    return {**plain, **changes}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sound") / "run"
    run_study(parse(table(), "here"), out, device="cpu")
    return out


def test_each_attacked_row_has_the_distribution_of_its_ratios(run: Path) -> None:
    cells = json.loads((run / "audit.json").read_text())["cells"]
    for cell in cells:
        found = cell["metrics"]
        if cell["knowledge"] == "clean":
            assert "snr_median" not in found
            continue
        names = ("least", "lower_quartile", "median", "upper_quartile", "greatest")
        ratios = [found[f"snr_{name}"]["value"] for name in names]
        assert ratios == sorted(ratios) and ratios[0] > 15 and ratios[-1] < 50
        assert cell["threat"] == {"norm": "sound linf", "eps": 0.002}
    assert "L∞ 0.002" in (run / "report.html").read_text()


def test_what_is_stored_is_16_bit_samples_within_the_budget(run: Path) -> None:
    sets = [AdversarialSet(folder) for folder in (run / "adversarial").iterdir()]
    source = data.load("scene-sounds:test")
    for found in (each for each in sets if "0.002" in str(each.about["threat"])):
        rows = [source.ids.index(name) for name in found.ids]
        clean, other = SOUND.natural(source.read(rows, None).images), SOUND.natural(found.images(range(len(rows))))
        assert torch.equal(other * 32768, (other * 32768).round())
        assert 0 < float((other - clean).abs().max()) <= 0.002
    assert any("0.002" in str(each.about["threat"]) for each in sets)


def test_a_run_is_the_same_in_other_batches(run: Path, tmp_path: Path) -> None:
    run_study(parse(table(batch=1), "here"), tmp_path / "other", device="cpu")
    one, other = (
        {(row["sample"], row["outcome"], round(row.get("snr", 0.0), 1)) for row in rows}
        for rows in (
            [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
            for folder in (run, tmp_path / "other")
        )
    )
    assert one == other


def test_the_page_plays_what_was_stored(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert page.count("data:audio/wav;base64,") >= 3
    held = page.split("data:audio/wav;base64,")[1].split('"')[0]
    rate, samples = wavfile.read(io.BytesIO(base64.b64decode(held)))
    assert rate == 8000 and samples.dtype == np.int16 and len(samples) == 8192


def test_a_page_plays_five_seconds_at_most() -> None:
    _, samples = wavfile.read(io.BytesIO(base64.b64decode(playable(torch.zeros(70_000), 8000))))
    assert len(samples) == 40_000


def test_an_illusion_may_aim_at_a_picture_of_a_class() -> None:
    opened = SoundTask(target="image", samples=2).open()
    model = load("scenes:bind")
    assert isinstance(model, SoundEmbedder)
    classifier = opened.classifier(model)
    target, keys = torch.tensor([5, 17]), Keys.of(0, range(2))
    vectors = opened._vectors(target, keys, classifier)
    assert vectors is not None and torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-5)
    assert classifier.scores(vectors).argmax(1).tolist() == [5, 17]
    texts = SoundTask(samples=2).open()._vectors(target, keys, classifier)
    assert texts is not None and not torch.allclose(vectors, texts, atol=0.1)
    with pytest.raises(InvalidInput, match="bound to images"):
        opened._vectors(target, keys, load("scenes:classifier"))


def test_a_ratio_is_the_budget_of_a_study(tmp_path: Path) -> None:
    study = parse(table(threat={"norm": "snr", "eps": ["24"]}, defenses=[{"name": "undefended"}]), "here")
    cells = run_study(study, tmp_path / "run", device="cpu").cells
    (attacked,) = [cell for cell in cells if cell.knowledge != "clean"]
    assert attacked.metrics["snr_least"].value == pytest.approx(24, abs=0.05)
    assert "SNR 24 dB" in (tmp_path / "run" / "report.html").read_text()


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="are no sounds"):
        SoundTask(data="scenes:test").open()
    with pytest.raises(InvalidInput, match="holds sounds"):
        run_study(
            parse(table(task={"name": "zeroshot", "data": "scene-sounds:test"}), "here"), tmp_path / "run", device="cpu"
        )
    with pytest.raises(InvalidInput, match="one in each study"):
        parse(table(threat={"norm": "snr", "eps": ["20", "30"]}), "here")
    with pytest.raises(InvalidInput, match="least ratio in dB"):
        parse(table(threat={"norm": "snr"}), "here")
    with pytest.raises(InvalidInput, match="a model wants"):
        run_study(parse(table(models=["scenes:classifier"]), "here"), tmp_path / "run", device="cpu")


def test_the_ratio_of_a_budget_follows_the_loudness_of_the_sound() -> None:
    found = data.load("scene-sounds:test").read(range(8), None).images
    waves = SOUND.natural(found)
    edge = SOUND.natural(Threat(norm="snr", eps=25.0, signal=SOUND).project(SOUND.carried(waves + 0.1), found))
    assert torch.allclose(decibels(waves, edge).float(), torch.full((8,), 25.0), atol=1e-2)


def test_the_study_is_read() -> None:
    assert read("sound").task["name"] == "sound"
