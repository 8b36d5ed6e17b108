"""An attack, or a purifier, on a folder of a user's own images: what is written and what not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from secondlook import registry
from secondlook.apply import as_classifier, attack_folder, png_names, purify_folder
from secondlook.data import images
from secondlook.errors import BrokenRun, InvalidInput
from secondlook.models import load
from secondlook.models.logits import LogitClassifier
from secondlook.models.zeroshot import ZeroShot
from secondlook.threat import Threat
from tests import tiny


def silent(done: int, of: int, what: str) -> None:
    """Shows no progress."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Good files of many kinds and sizes, and what is no image and is left alone."""
    place = tmp_path / "mine"
    place.mkdir()
    grains = np.random.default_rng(0).integers(96, 160, (9, 12, 3), dtype=np.uint8)
    rgb = Image.fromarray(grains)
    rgb.save(place / "plain.png")
    rgb.save(place / "photo.jpg", quality=95)
    rgb.save(place / "plain.bmp")
    rgb.quantize(16).save(place / "palette.png")
    rgb.convert("RGBA").save(place / "alpha.png")
    rgb.convert("L").save(place / "gray.png")
    wide = (np.asarray(rgb.convert("L")).astype(np.uint16) * 257).astype(np.uint16)
    Image.fromarray(wide).save(place / "sixteen.png")
    rgb.resize((1, 1)).save(place / "dot.png")
    rgb.save(place / "[red] :smile:.png")
    (place / "notes.txt").write_text("not an image, and not named like one")
    (place / "deeper").mkdir()
    return place


def attacked(folder: Path, out: Path, **changes: Any) -> Any:
    given: dict[str, Any] = {
        "model": tiny.eye(),
        "threat": Threat(eps=8 / 255),
        "target": "red",
        "attack": registry.build("attack", "illusion", {"steps": 20, "step": "2/255"}),
        "others": ("green", "blue", "cyan", "magenta", "yellow"),
        "seed": 0,
        "tick": silent,
    }
    return attack_folder(folder, out, **(given | changes))


def test_each_good_file_has_its_adversarial_within_eps(folder: Path, tmp_path: Path) -> None:
    written = attacked(folder, tmp_path / "out")
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == sorted([each.file for each in written] + ["provenance.json"])
    assert len(written) == 9
    for each in written:
        with Image.open(tmp_path / "out" / each.file) as held:
            assert held.format == "PNG" and held.mode == "RGB"
        source = images.read(each.source, None)
        found = images.read(tmp_path / "out" / each.file, None)
        assert found.shape == source.shape
        moved = ((found - source) * 255).round().abs()
        assert 0 < moved.max() <= 8
        assert each.after > each.before


def test_what_is_written_down_is_what_the_files_hold(folder: Path, tmp_path: Path) -> None:
    written = attacked(folder, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))
    assert content["model"] == "tiny:eye" and content["hash"] == tiny.eye().hash
    assert (content["target"], content["seed"]) == ("red", 0)
    assert content["threat"] == "L∞ 8/255" and content["version"]
    assert content["attack"]["name"] == "illusion" and content["attack"]["steps"] == 20
    # What is shared names no folder of this machine.
    assert str(tmp_path) not in json.dumps(content)
    found = [each | {"source": str((tmp_path / "out" / each["source"]).resolve())} for each in content["images"]]
    assert found == [vars(each) for each in written]
    judge = as_classifier(tiny.eye(), "red", ["green", "blue", "cyan", "magenta", "yellow"])
    for each in content["images"]:
        for key, place in (("after", tmp_path / "out" / each["file"]), ("before", tmp_path / "out" / each["source"])):
            score = judge(images.read(place, None)[None])[0]
            assert each[key] == pytest.approx(float(score[0]), abs=1e-4)
            if key == "after":
                assert each["success"] == (int(score.argmax()) == 0)
    assert any(each["success"] for each in content["images"])


def test_an_image_s_adversarial_does_not_depend_on_its_neighbors(folder: Path, tmp_path: Path) -> None:
    pgd = registry.build("attack", "pgd", {"steps": 3})
    attacked(folder, tmp_path / "all", attack=pgd)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "gray.png").write_bytes((folder / "gray.png").read_bytes())
    (tmp_path / "one" / "a.png").write_bytes((folder / "dot.png").read_bytes())
    (tmp_path / "one" / "a.bmp").write_bytes((folder / "plain.bmp").read_bytes())
    attacked(tmp_path / "one", tmp_path / "few", attack=pgd)
    found = images.read(tmp_path / "few" / "gray.png.png", None)
    assert torch.equal(found, images.read(tmp_path / "all" / "gray.png.png", None))


def test_a_model_of_its_own_size_is_attacked_there(folder: Path, tmp_path: Path) -> None:
    model = LogitClassifier("sized", lambda x: x.mean((2, 3)), ("red", "green", "blue"), size=(5, 7))
    written = attacked(folder, tmp_path / "out", model=model)
    for each in written:
        found = images.read(tmp_path / "out" / each.file, None)
        moved = (found - images.read(each.source, (5, 7))) * 255
        assert found.shape == (3, 5, 7) and moved.round().abs().max() <= 8
        assert torch.equal(images.read(tmp_path / "out" / each.clean, None), images.read(each.source, (5, 7)))


def test_cropping_is_told_before_and_only_where_it_happens(folder: Path, tmp_path: Path) -> None:
    model = LogitClassifier("sized", lambda x: x.mean((2, 3)), ("red", "green", "blue"), size=(9, 12))
    told: list[str] = []
    written = attacked(folder, tmp_path / "out", model=model, notify=told.append)
    assert [Path(each.source).name for each in written if each.clean] == ["dot.png"]
    _, line = told  # after what is no image
    assert "sized sees 9x12 pixels: 1 of 9 images" in line
    (folder / "notes.txt").unlink()
    attacked(folder, tmp_path / "other", notify=told.append)
    assert told[1:] == [line]
    (tmp_path / "two").mkdir()
    for name in ("a.png", "a.clean.png"):
        (tmp_path / "two" / name).write_bytes((folder / "dot.png").read_bytes())
    with pytest.raises(InvalidInput, match="both a clean crop and an adversarial"):
        attacked(tmp_path / "two", tmp_path / "twice", model=model)


def test_no_image_is_written_over(folder: Path, tmp_path: Path) -> None:
    inner = folder / "mine"
    inner.mkdir()
    (inner / "plain.png").write_bytes((folder / "plain.png").read_bytes())
    before = (folder / "plain.png").read_bytes()
    (folder / "plain.bmp").unlink()
    with pytest.raises(InvalidInput, match="write to a folder of its own"):
        attacked(folder, tmp_path)
    assert (folder / "plain.png").read_bytes() == before


def test_folders_of_classes_name_what_the_images_may_be(tmp_path: Path) -> None:
    place = tiny.write_folder(tmp_path / "classes", 12)
    written = attacked(place, tmp_path / "out", others=(), threat=Threat(eps=20 / 255))
    assert {Path(each.file).parent.name for each in written} == set(tiny.COLORS)
    assert all((tmp_path / "out" / each.file).is_file() for each in written)
    # Another run next to them takes no adversarial for an image.
    again = attacked(place, place / "inside", others=())
    assert len(attacked(place, place / "inside", others=())) == len(again) == len(written) == 12


def test_untargeted_takes_any_other_answer_than_the_clean_one(tmp_path: Path) -> None:
    place = tiny.write_folder(tmp_path / "classes", 12)
    written = attacked(place, tmp_path / "out", others=(), target=None, threat=Threat(eps=40 / 255))
    judge = as_classifier(tiny.eye(), None, tiny.COLORS)
    for each in written:
        before, after = (
            int(judge(images.read(file, None)[None]).argmax()) for file in (each.source, tmp_path / "out" / each.file)
        )
        assert each.label == tiny.COLORS[before] == Path(each.file).parent.name
        assert each.success == (before != after)
    assert all(each.success and each.after < each.before for each in written)
    with pytest.raises(InvalidInput, match="--other cat --other dog"):
        attacked(place / "red", tmp_path / "more", others=(), target=None)


def test_who_is_taken_for_the_target_already_is_told_from_a_success(tmp_path: Path) -> None:
    place = tiny.write_folder(tmp_path / "classes", 12)
    for each in attacked(place, tmp_path / "out", others=(), threat=Threat(eps=20 / 255)):
        assert each.already == (Path(each.file).parent.name == "red")


@pytest.mark.parametrize("verb", ["attack", "purify"])
def test_what_is_no_image_is_counted_and_told(folder: Path, verb: str) -> None:
    (folder / "deeper" / "photo.heic").write_bytes(b"heic")
    told: list[str] = []
    for _ in range(2):  # the second time beside what was written
        verbs(verb)(folder, folder / "out", notify=told.append)
        (folder / "out" / "more.txt").write_text("written by others")
    assert told == [f"of {folder}, 2 files are no images that are read here: 1 .heic, 1 .txt"] * 2


@pytest.mark.parametrize(
    ("names", "written"),
    [
        (["a.png", "b.jpg"], ["a.png", "b.png"]),
        (["a.png", "a.jpg", "b.jpg"], ["a.png.png", "a.jpg.png", "b.jpg.png"]),
        (["a.jpg", "a.png", "a.jpg.png"], ["a.jpg.png", "a.png.png", "a.jpg.png.png"]),
    ],
)
def test_no_file_is_written_over_another(names: list[str], written: list[str]) -> None:
    found = png_names([Path(name) for name in names])
    assert found == written and len(set(found)) == len(names)


def spoilt(kind: str) -> tuple[str, bytes]:
    """A bad image of some kind: its name and its bytes."""
    import io

    held = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(held, format="JPEG")
    if kind == "truncated":
        return "cut.jpg", held.getvalue()[: len(held.getvalue()) // 2]
    if kind == "text":
        return "words.png", b"I am no image.\n"
    if kind == "empty":
        return "nothing.png", b""
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
    import struct
    import zlib

    ihdr = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + ihdr))
    return "huge.png", header + ihdr + crc + b"\x00\x00\x00\x00IEND\xaeB`\x82"


@pytest.mark.parametrize("kind", ["truncated", "text", "empty", "huge"])
@pytest.mark.parametrize("verb", ["attack", "purify"])
def test_a_bad_image_is_named(folder: Path, tmp_path: Path, verb: str, kind: str) -> None:
    name, content = spoilt(kind)
    (folder / name).write_bytes(content)
    fix = "shrink it to 50 megapixels" if kind == "huge" else "replace the file or remove it"
    with pytest.raises(InvalidInput, match=fix) as caught:
        verbs(verb)(folder, tmp_path / "out")
    assert name in str(caught.value) and "\n" not in str(caught.value)
    # The fix works, and what was written before does not stand in its way.
    (folder / name).unlink()
    assert len(verbs(verb)(folder, tmp_path / "out")) == 9


def verbs(verb: str) -> Callable[..., Any]:
    def purified(folder: Path, out: Path, **changes: Any) -> Any:
        given = {"purifier": tiny.shift(), "samples": 1, "seed": 0, "tick": silent}
        return purify_folder(folder, out, **(given | changes))

    return attacked if verb == "attack" else purified


@pytest.mark.parametrize("verb", ["attack", "purify"])
def test_folders_that_cannot_be_read_or_written(folder: Path, tmp_path: Path, verb: str) -> None:
    call, empty = verbs(verb), tmp_path / "empty"
    empty.mkdir()
    cases = [
        (tmp_path / "none", tmp_path / "out", "cannot be read as a folder .*No such file"),
        (folder / "notes.txt", tmp_path / "out", "cannot be read as a folder"),
        (empty, tmp_path / "out", "no images in .*: it holds no files"),
        (folder, folder, "holds the images themselves; write to a folder of its own"),
        (folder, folder / "deeper" / "..", "holds the images themselves"),
        (folder, folder / "notes.txt", r"notes\.txt cannot be made: File exists; something else lies there"),
    ]
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for source, out, message in cases:
        with pytest.raises(InvalidInput, match=message):
            call(source, out)
    assert not (tmp_path / "out").exists()
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": " "}, "write a word or more"),
        ({"model": tiny.shift()}, "tiny:shift neither embeds nor classifies"),
        (
            {"model": LogitClassifier("c", lambda x: x.mean((2, 3)), ("a", "b", "c"))},
            "c has no class 'red'; it has a, b, c",
        ),
    ],
)
def test_a_target_that_cannot_be(folder: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        attacked(folder, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_without_others_the_target_is_one_of_two() -> None:
    class Words(tiny.Compass):
        def encode_text(self, texts: Any) -> torch.Tensor:
            return torch.eye(3)[: len(texts)]

    judge = as_classifier(Words("words"), "a cat", ())
    assert isinstance(judge, ZeroShot) and judge.classes == ("a cat", "something else")


def test_a_full_disk_is_told_and_leaves_no_half_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from secondlook import drafts

    def full(*args: object, **how: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(drafts, "open", full, raising=False)
    with pytest.raises(BrokenRun, match=r"provenance\.json: No space left on device; make room there"):
        drafts.write_atomic(tmp_path / "out" / "provenance.json", b"{}")
    with pytest.raises(InvalidInput, match="No space left on device"):
        attacked(folder, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_purified_images_keep_their_size_and_are_drawn_anew(folder: Path, tmp_path: Path) -> None:
    written = purify_folder(folder, tmp_path / "out", purifier=tiny.shift(), samples=3, seed=0, tick=silent)
    assert len(written) == 27 and all(path.exists() for path in written)
    for number in (1, 2, 3):
        assert tmp_path / "out" / f"dot.png-{number}.png" in written
    draws = [images.read(tmp_path / "out" / f"gray.png-{n}.png", None) for n in (1, 2, 3)]
    clean = images.read(folder / "gray.png", None)
    for draw in draws:
        assert draw.shape == clean.shape and 0 < (draw - clean).abs().max() <= 10.5 / 255
    assert not torch.equal(draws[0], draws[1]) and not torch.equal(draws[1], draws[2])
    # The first of several is the one that is drawn alone; another seed draws others.
    for seed, same in ((0, True), (1, False)):
        place = tmp_path / f"seed-{seed}"
        purify_folder(folder, place, purifier=tiny.shift(), samples=1, seed=seed, tick=silent)
        found = images.read(place / "gray.png.png", None)
        assert torch.equal(found, draws[0]) == same


def test_no_samples_is_nothing_to_write(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="samples=0; write 1 to 10,000 reconstructions"):
        purify_folder(folder, tmp_path / "out", purifier=tiny.shift(), samples=0, seed=0, tick=silent)


def test_progress_is_told_from_nothing_to_all(folder: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    attacked(folder, tmp_path / "out", tick=lambda *args: told.append(args))
    assert [done for done, _, _ in told] == list(range(10)) and {of for _, of, _ in told} == {9}
    assert told[-1][2] == "done"


def test_words_that_an_embedder_does_not_know_are_refused(folder: Path, tmp_path: Path) -> None:
    """Two unknown words have one vector, and each would be reached against the other."""
    clip = load("scenes:clip")
    for target, others, said in (
        ("quokka", ("red circle",), "does not know the word 'quokka'"),
        ("red circle", ("zyzzyva",), "does not know the word 'zyzzyva'"),
        ("a red quokka", (), "'quokka' of 'a red quokka'"),
        ("red circle", ("Red circle!",), "one vector for 'red circle' and 'Red circle!'"),
        ("red circle", ("",), "write a word or more"),
    ):
        with pytest.raises(InvalidInput, match=said):
            attacked(folder, tmp_path / "out", model=clip, target=target, others=others)
    assert as_classifier(clip, "red circle", ("blue star",)).classes == ("red circle", "blue star")
