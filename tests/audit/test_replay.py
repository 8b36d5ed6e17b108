"""Bundles of adversarial images, shown to a model that is known in closed form."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from secondlook.audit.replay import replayed
from secondlook.errors import BrokenThreat, InvalidInput
from secondlook.models.photographs import DEVIATION, MEAN
from secondlook.threat import Threat
from tests import tiny

COUNT, EPS = 12, 30 / 255
Save = Callable[..., str]


class Reader(tiny.Compass):
    """Reads sentences, too."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return super().encode_text([text.rstrip(".") for text in texts])


def eye() -> Reader:
    return Reader("tiny:eye")


@pytest.fixture
def bundle(tmp_path: Path) -> Save:
    """Twelve colours, of which all but the last four were turned into the wanted one."""

    def save(**changes: np.ndarray) -> str:
        painted = tiny.paint(COUNT)
        clean = torch.stack([image for _, image in painted]).numpy()
        true = np.array([tiny.COLOURS.index(name) for name, _ in painted])
        wanted = (true + 1) % len(tiny.COLOURS)
        wanted[0] = true[0]
        axes = np.array([tiny.AXES[name] for name in tiny.COLOURS], dtype=np.float32)
        away = EPS * np.sign(axes[wanted] - axes[true])[:, :, None, None]
        away[8:] = 0
        arrays: dict[str, Any] = {
            "x_inits": clean, "x_advs": (clean + away).clip(0, 1), "y_ids": wanted, "y_origs": true,
        } | changes  # fmt: skip
        mean, deviation = (np.array(v)[:, None, None] for v in (MEAN, DEVIATION))
        for name, array in arrays.items():
            pixels = (array - mean) / deviation if array.ndim == 4 else array
            np.save(tmp_path / f"{name}.npy", pixels)
        (tmp_path / "labels.txt").write_text("\n".join(tiny.COLOURS))
        return f"illusions:{tmp_path}"

    return save


def test_what_the_model_sees_and_has_seen(bundle: Save) -> None:
    found = replayed(bundle(), eye())
    values = {name: metric.value for name, metric in found.metrics.items()}
    # The first image wants what it is: it counts for the originals alone.
    assert values["target_top1"] == pytest.approx(7 / 11)
    assert values["original_top1"] == pytest.approx(5 / 12)
    assert values["clean_original_top1"] == 1 and values["target_top5"] >= 7 / 11
    assert found.denominators == {
        "target_top1": 11, "target_top5": 11, "original_top1": 12, "clean_original_top1": 12,
    }  # fmt: skip
    assert found.metrics["target_top1"].low < 7 / 11 < found.metrics["target_top1"].high
    assert json.loads(found.written())["metrics"]["target_top1"]["value"] == values["target_top1"]


def test_a_classifier_is_asked_by_its_own_names(bundle: Save) -> None:
    from secondlook.models.zeroshot import ZeroShot

    backwards = tuple(reversed(tiny.COLOURS))
    judge = ZeroShot(eye(), backwards, "{}")
    turned = replayed(bundle(), judge)
    assert turned.metrics == replayed(bundle(), eye()).metrics


def test_the_threat_is_measured_and_can_be_demanded(bundle: Save) -> None:
    name = bundle()
    about = replayed(name, eye()).about
    assert about["attack"] == (
        "imported; threat not recorded, measured linf eps = 30.00/255 (median 30.00/255)"
    )
    assert "unchecked" in about["caveat"] and about["set"] == name
    replayed(name, eye(), threat=Threat(eps=30 / 255))
    with pytest.raises(BrokenThreat, match=r"x_advs-\d+ is 30.00/255 .*L∞ 8/255 was allowed"):
        replayed(name, eye(), threat=Threat(eps=8 / 255))
    with pytest.raises(InvalidInput, match="norm='linf'"):
        replayed(name, eye(), threat=Threat(norm="l2", eps=1))


def test_what_is_no_bundle_or_does_not_fit_is_told(bundle: Save, tmp_path: Path) -> None:
    folder = tiny.write_folder(tmp_path / "plain", 6)
    with pytest.raises(InvalidInput, match="holds no adversarial images beside their originals"):
        replayed(f"folder:{folder}", eye())
    large = eye()
    large.size = (16, 16)  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="at 16x16 the attack would be another one"):
        replayed(bundle(), large)


def test_nobody_is_aimed_at_where_all_want_what_they_are(bundle: Save) -> None:
    true = np.array([tiny.COLOURS.index(name) for name, _ in tiny.paint(COUNT)])
    found = replayed(bundle(y_ids=true), eye())
    assert set(found.metrics) == {"original_top1", "clean_original_top1"}
