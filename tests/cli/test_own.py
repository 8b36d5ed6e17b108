"""The study that an audit of one's own model runs where none is named."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from secondlook.audit.study import read
from secondlook.cli.own import fitted, folder_name, study_meant
from tests import tiny
from tests.cli.test_cli import Ended, secondlook

__all__ = ["secondlook"]


@pytest.mark.parametrize(
    ("models", "data", "study"),
    [
        ([], "", "default"),
        (["scenes:clip"], "", "default"),
        (["local:mine/clip"], "scenes:test", "default"),
        (["hf:x"], "", "own"),
        (["scenes:clip", "hf:x"], "", "own"),
        (["scenes:clip"], "folder:photos", "own"),
    ],
)
def test_what_is_not_of_the_embedded_world_has_a_study_of_its_own(models: list[str], data: str, study: str) -> None:
    assert study_meant(models, data) == study


def test_the_embedded_purifiers_stand_where_the_data_are_scenes() -> None:
    own = read("own")
    photos, scenes = (fitted(own, ["hf:x"], data) for data in ("folder:photos", "scenes:test"))
    assert [each["name"] for each in photos.defenses] == ["undefended", "jpeg", "noise"]
    assert [each.get("purifier") for each in scenes.defenses][3:] == ["scenes:ae", "scenes:vae", "scenes:diffusion"]
    assert (photos.title, photos.name) == ("hf:x on folder:photos", "hf-x-folder-photos")


def test_a_folder_s_name_is_safe_and_short() -> None:
    assert folder_name(["hf:/srv/me/clip?dtype=bf16", f"folder:{Path.home()}/pets/"]).startswith(
        "hf-clip-dtype-bf16-folder-"
    )
    assert "me" not in folder_name(["hf:/srv/me/clip"]).split("-")
    name = folder_name(["python:../../x:y", "folder:" + "long/" * 60])
    assert not set(name) & set("/.:?") and len(name) <= 80 and folder_name(["???"]) == "own"


def test_an_audit_of_ones_own_is_called_by_model_and_data(secondlook: Callable[..., Ended], tmp_path: Path) -> None:
    tiny.write_folder(tmp_path / "photos", 36)
    words = ("audit", "--model", "python:tests.tiny:eye", "--data", "folder:photos")
    ended = secondlook(*words, "--samples", 6, "--steps", 2, "--set", "adaptive.steps=2")
    assert ended.status == 0, ended.err
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("python-tests-tiny-eye-folder-photos-")
    content = json.loads((folder / "audit.json").read_text())
    assert content["title"] == "python:tests.tiny:eye on folder:photos"
    assert {cell["defense"].split()[0] for cell in content["cells"]} == {"undefended", "jpeg", "noise"}
    assert {cell["attack"] for cell in content["cells"]} == {"none", "illusion", "synthesis"}


def test_an_untargeted_attack_needs_no_target_and_a_targeted_one_does(
    secondlook: Callable[..., Ended], tmp_path: Path
) -> None:
    tiny.write_folder(tmp_path / "photos", 6)
    words = ("attack", "photos", "--model", "python:tests.tiny:eye", "--eps", "40/255", "--set", "steps=5")
    ended = secondlook(*words, "--goal", "untargeted", "--set", "step=10/255")
    assert ended.status == 0, ended.err
    assert ended.out.count("  success") == 6 and (tmp_path / "adversarial" / "red").is_dir()
    assert "--goal untargeted for any wrong answer" in secondlook(*words).err
    assert "leave one out" in secondlook(*words, "--goal", "untargeted", "--target", "red").err
    assert "'any' is unknown" in secondlook(*words, "--goal", "any").err


def test_a_set_of_an_audit_is_scored_again(secondlook: Callable[..., Ended], tmp_path: Path) -> None:
    """Against its own victim the figures are those of the audit."""
    tiny.write_folder(tmp_path / "photos", 36)
    words = ("audit", "--model", "python:tests.tiny:eye", "--data", "folder:photos", "--out", "run")
    ended = secondlook(*words, "--samples", 12, "--steps", 3, "--set", 'defenses=[{name="undefended"}]')
    assert ended.status == 0, ended.err
    cells = json.loads((tmp_path / "run" / "audit.json").read_text())["cells"]
    wanted = sorted(cell["metrics"]["original_top1"]["value"] for cell in cells if cell["attack"] != "none")
    found = []
    for place in sorted((tmp_path / "run" / "adversarial").iterdir()):
        if len(list(place.glob("*.safetensors"))) and place.name:
            again = secondlook("rescore", place, "--model", "python:tests.tiny:eye", "--json", "found.json")
            assert again.status == 0, again.err
            metrics = json.loads((tmp_path / "found.json").read_text())["metrics"]
            assert metrics["clean_original_top1"]["value"] == 1
            found.append(metrics["original_top1"]["value"])
            assert "runs code to be loaded; if you trust it, write --model" in secondlook("rescore", place).err
    assert place.name in secondlook("rescore", "run").err
    assert len(wanted) > 1 and sorted(found) == pytest.approx(wanted)


def test_a_folder_without_classes_is_audited_for_what_changes(secondlook: Callable[..., Ended], tmp_path: Path) -> None:
    tiny.write_folder(tmp_path / "photos", 12)
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted((tmp_path / "photos").rglob("*.png"))):
        path.rename(flat / f"{number}.png")
    words = ("audit", "--model", "python:tests.tiny:eye", "--data", "folder:flat", "--steps", 2)
    ended = secondlook(*words, "--set", "adaptive.steps=2", "--out", "run")
    assert ended.status == 0, ended.err
    assert "no labels, no accuracy" in ended.out and "unchanged" in ended.out
    content = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert {cell["task"] for cell in content["cells"]} == {"unlabeled folder:flat"}
    assert {cell["n"] for cell in content["cells"]} == {12}
    refused = secondlook(
        "audit", "default", "--model", "python:tests.tiny:eye", "--data", "folder:flat", "--samples", 4
    )
    assert refused.status == 2 and '[task] name = "unlabeled"' in refused.err
