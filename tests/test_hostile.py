"""What attackers hand us: none of it runs code, reads or writes outside, or tells a variable or a path.

Each case builds hostile files in a folder of its own and gives the command line that meets them. The
command has to end in one clear line with status 2; a marker that hostile code would have made is not
there, what lies outside is as it was, and the secret is in nothing that was printed or written.
"""

import base64
import hashlib
import io
import json
import os
import pickle
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from secondlook import cli
from secondlook.models.io.hub import Checkpoint
from tests import console, tiny

SECRET = "s3cret-t0ken-of-the-user"
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"


class Place(NamedTuple):
    """Where a case lies.

    Attributes:
        work: the folder that the command runs in.
        outside: a folder that nobody has named, with an image and a text in it.
        marker: the file that hostile code makes.
    """

    work: Path
    outside: Path
    marker: Path

    def write(self, name: str, content: Any) -> Path:
        """A file of the case; what is neither text nor bytes is written as JSON."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, str | bytes):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def image(self, name: str, color: int = 90) -> Path:
        """A small PNG."""
        held = io.BytesIO()
        Image.new("RGB", (8, 8), (color, 10, 200)).save(held, "PNG")
        return self.write(name, held.getvalue())

    def harm(self) -> bytes:
        """A pickle that makes the marker."""
        return pickle.dumps(Harm(self.marker))

    def retrieval(self, data: str) -> list[str]:
        """Searches captioned data."""
        task = (
            f'models = ["python:tests.tiny:eye"]\nknowledge = ["clean"]\n[task]\nname = "retrieval"\ndata = "{data}"\n'
        )
        return ["audit", str(self.write("retrieval.toml", task + '[attack]\nname = "sga"\n')), "--out", "run"]

    def audit(self, *words: str) -> list[str]:
        """Classifies; model and data are those of the words, or harmless ones."""
        given = ["--model", "python:tests.tiny:eye"] if "--model" not in words else []
        folder = tiny.write_folder(self.work / "harmless", 6) if "--data" not in words else None
        given += ["--data", f"folder:{folder}"] if folder else []
        return ["audit", "default", "--samples", "2", "--steps", "1", "--out", "run", *given, *words]


class Harm:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


Case = Callable[[Place], list[str]]
CASES: dict[str, tuple[str, Case]] = {}


def hostile(said: str) -> Callable[[Case], Case]:
    """Enters a case with what its one line has to say."""

    def enter(case: Case) -> Case:
        CASES[case.__name__] = (said, case)
        return case

    return enter


# --- models ------------------------------------------------------------------------------------


@hostile(r"whatever code its file holds; .*\?trust=true")
def an_exported_classifier(at: Place) -> list[str]:
    at.write("x.pt2", at.harm())
    at.write("x.json", {"kind": "classifier", "labels": ["a", "b"], "input": [3, 8, 8], "sha256": "0"})
    return at.audit("--model", "file:x.pt2")


@hostile("whatever code its file holds")
def an_exported_embedder(at: Place) -> list[str]:
    at.write("pair/image.pt2", at.harm())
    at.write("pair/text.pt2", at.harm())
    return at.audit("--model", "file:pair")


@hostile("whatever code its file holds")
def an_exported_purifier(at: Place) -> list[str]:
    at.write("x-encoder.pt2", at.harm())
    return at.audit("--set", 'defenses=[{name="consensus", purifier="file:x", samples=2}]')


@hostile("whatever code its file holds")
def an_exported_model_to_the_doctor(at: Place) -> list[str]:
    at.write("x.pt2", at.harm())
    return ["doctor", "file:x.pt2?trust=false"]


@hostile("is no checkpoint that torch .* reads without running code")
def a_checkpoint_of_albef(at: Place) -> list[str]:
    at.write("vocab.txt", "[PAD]\n[UNK]")
    at.write("albef.pth", pickle.dumps(Harm(at.marker), protocol=2))
    return at.audit("--model", "albef:albef.pth")


@hostile("is no checkpoint that torch .* reads without running code")
def a_checkpoint_of_imagebind(at: Place) -> list[str]:
    held = io.BytesIO()
    torch.save({"model": Harm(at.marker)}, held)
    at.write("imagebind.pth", held.getvalue())
    return at.audit("--model", "imagebind:imagebind.pth")


@hostile("weights of hub are in a pickle")
def a_pickle_of_the_hub(at: Place) -> list[str]:
    at.write("hub/config.json", {"model_type": "clip", "architectures": ["CLIPModel"]})
    at.write("hub/pytorch_model.bin", at.harm())
    return at.audit("--model", "hf:hub")


@hostile(r"model\.safetensors\.index\.json names '\.\./outside/x\.safetensors', outside of it")
def parts_of_weights_that_lie_elsewhere(at: Place) -> list[str]:
    at.write("hub/config.json", {"model_type": "clip", "architectures": ["CLIPModel"]})
    at.write("hub/model.safetensors.index.json", {"metadata": {}, "weight_map": {"a": "../outside/x.safetensors"}})
    return at.audit("--model", "hf:hub")


@hostile("has no weight_map of names and files")
def parts_of_weights_that_are_none(at: Place) -> list[str]:
    at.write("hub/config.json", {"model_type": "clip", "architectures": ["CLIPModel"]})
    at.write("hub/model.safetensors.index.json", {"weight_map": {"a": 5}})
    return at.audit("--model", "hf:hub")


@hostile("has no weights for .* parameters of CLIPModel")
def weights_of_another_network(at: Place) -> list[str]:
    """Of which the library's own report of hundreds of lines is not shown."""
    at.write("hub/config.json", {"model_type": "clip", "architectures": ["CLIPModel"], "projection_dim": 4})
    at.write("hub/model.safetensors", struct.pack("<Q", 2) + b"{}")
    return at.audit("--model", "hf:hub")


@hostile("config.json is no JSON")
def a_deep_config_of_the_hub(at: Place) -> list[str]:
    at.write("hub/config.json", "[" * 100_000)
    return at.audit("--model", "hf:hub")


def based_on(at: Place, base: str) -> list[str]:
    """A card of a hardened model that names a base."""
    at.write("evil.py", f"import pathlib\npathlib.Path({str(at.marker)!r}).touch()\ndef net(): pass\n")
    at.write("x.safetensors", b"")
    card = {"base": {"name": base, "hash": "0"}, "command": "true"}
    at.write("x.json", card | {"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"})
    return at.audit("--model", "local:x")


@hostile(r"was made of python:evil:net, which runs code to be loaded; .*local:x\?trust=true")
def a_card_whose_base_is_code(at: Place) -> list[str]:
    return based_on(at, "python:evil:net")


@hostile("which runs code to be loaded")
def a_card_whose_base_is_a_trusted_program(at: Place) -> list[str]:
    at.write("x.pt2", at.harm())
    return based_on(at, "file:x.pt2?trust=true")


@hostile("which runs code to be loaded")
def a_card_whose_base_trusts_its_own(at: Place) -> list[str]:
    return based_on(at, "local:x?trust=true")


@hostile("x.json is no card that secondlook has written")
def a_card_of_great_depth(at: Place) -> list[str]:
    at.write("x.json", '{"a":' * 100_000)
    return at.audit("--model", "local:x")


@hostile("does not fit its network|header")
def weights_with_an_absurd_header(at: Place) -> list[str]:
    weights = Path(tiny.__file__).parents[1] / "src" / "secondlook" / "scenes" / "weights"
    card = json.loads((weights / "vae.json").read_text())
    content = struct.pack("<Q", 2**62) + b"{}"
    at.write("x.safetensors", content)
    at.write("x.json", card | {"sha256": hashlib.sha256(content).hexdigest()})
    return ["purify", "harmless", "--purifier", "local:x"]


@hostile("its card describes no ")
def a_card_of_an_impossible_network(at: Place) -> list[str]:
    card = {"architecture": {"network": "ClipNetwork", "no": 1}, "sha256": "", "command": ""}
    at.write("x.json", card)
    return at.audit("--model", "local:x")


# --- code that is the user's own, and ends where it should not ------------------------------------


def code(at: Place, text: str) -> str:
    """A module of the working folder, whose name is free in this process."""
    name = f"code_{at.work.parent.name}".replace("-", "_")
    at.write(f"{name}.py", text)
    return name


@hostile(r"\(\) called sys.exit\(0\)")
def a_factory_that_exits(at: Place) -> list[str]:
    return at.audit("--model", f"python:{code(at, 'import sys' + chr(10) + 'def net(): sys.exit(0)')}:net")


@hostile(r"importing .* called sys.exit\(0\)")
def a_module_that_exits(at: Place) -> list[str]:
    return at.audit("--model", f"python:{code(at, 'raise SystemExit(0)')}:net")


@hostile(r"plugins: .* called sys.exit\(None\)")
def a_plugin_that_exits(at: Place) -> list[str]:
    return at.audit("--set", f'plugins=["{code(at, "raise SystemExit")}"]')


@hostile(r"ended the program by sys.exit\(0\), and nothing was finished")
def a_network_that_exits(at: Place) -> list[str]:
    text = "import sys\nclass Net:\n    classes = ('red', 'blue')\n    def __call__(self, x): sys.exit(0)\nnet = Net\n"
    return at.audit("--model", f"python:{code(at, text)}:net")


# --- data --------------------------------------------------------------------------------------


@hostile(r"outside of .*; put it there, or say where the images are: FILE@FOLDER")
def a_table_that_goes_up(at: Place) -> list[str]:
    at.write("data/x.csv", "image,caption\n../../outside/secret.png,a red thing\n")
    return at.retrieval("csv:data/x.csv")


@hostile("outside of data")
def a_table_with_a_path_of_its_own(at: Place) -> list[str]:
    at.write("data/x.csv", f"image,caption\n{at.outside}/secret.png,a red thing\n")
    return at.retrieval("csv:data/x.csv")


@hostile("outside of data/im")
def a_table_that_goes_up_from_a_folder_that_is_named(at: Place) -> list[str]:
    at.image("data/im/1.png")
    at.write("data/x.csv", "image,caption\n../../../outside/secret.png,a red thing\n")
    return at.retrieval("csv:data/x.csv@data/im")


@hostile(r"leads out of data by a link; .*\?links=true")
def a_table_with_a_link(at: Place) -> list[str]:
    at.write("data/x.csv", "image,caption\n1.png,a red thing\n")
    (at.work / "data/1.png").symlink_to(at.outside / "secret.png")
    return at.retrieval("csv:data/x.csv")


@hostile("leads out of data by a link")
def a_table_beside_a_linked_folder(at: Place) -> list[str]:
    at.write("data/x.csv", "image,caption\nsecret.png,a red thing\n")
    (at.work / "data/images").symlink_to(at.outside)
    return at.retrieval("csv:data/x.csv")


@hostile("outside of data")
def splits_of_karpathy(at: Place) -> list[str]:
    image = {"filename": "secret.png", "filepath": "../../outside", "sentences": [{"raw": "a red thing"}]}
    at.write("data/x.json", {"images": [image | {"split": "test"}]})
    return at.retrieval("karpathy:data/x.json#test")


@hostile("outside of data")
def a_list_of_sga(at: Place) -> list[str]:
    at.write("data/x.json", [{"image": f"{at.outside}/secret.png", "caption": ["a red thing"]}])
    return at.retrieval("sga:data/x.json")


@hostile("outside of data")
def boxes_of_refcoco(at: Place) -> list[str]:
    entry = {"image": "../../outside/secret.png", "sentence": "a red thing", "bbox": [0, 0, 4, 4]}
    at.write("data/x.json", [entry])
    return at.retrieval("refcoco:data/x.json")


@hostile("outside of data")
def pairs_in_a_table(at: Place) -> list[str]:
    at.image("data/1.png")
    at.write("data/x.csv", "input,generated,label\n1.png,../../outside/secret.png,clean\n")
    return at.audit("--data", "pairs:data/x.csv")


@hostile("leads out of made by a link")
def pairs_of_folders(at: Place) -> list[str]:
    at.image("given/1.png")
    (at.work / "made").mkdir()
    (at.work / "made/1.png").symlink_to(at.outside / "secret.png")
    return at.audit("--data", "pairs:given@made")


@hostile(r"leads out of data by a link; .*\?links=true")
def a_folder_with_a_link(at: Place) -> list[str]:
    at.image("data/red/1.png")
    at.image("data/blue/1.png")
    (at.work / "data/red/2.png").symlink_to(at.outside / "secret.png")
    return at.audit("--data", "folder:data")


@hostile("leads out of data by a link")
def a_folder_with_a_linked_class(at: Place) -> list[str]:
    at.image("data/red/1.png")
    (at.work / "data/blue").symlink_to(at.outside)
    return at.audit("--data", "folder:data")


@hostile("leads out of uploads by a link; put the file itself there$")
def uploads_with_a_link(at: Place) -> list[str]:
    (at.work / "uploads").mkdir()
    (at.work / "uploads/1.png").symlink_to(at.outside / "secret.png")
    return ["purify", "uploads", "--purifier", "python:tests.tiny:shift"]


@hostile("data/images/links/x.jpg leads out of data by a link")
def a_list_of_food(at: Place) -> list[str]:
    at.image("data/images/red/1.jpg")
    (at.outside / "x.jpg").write_bytes((at.outside / "secret.png").read_bytes())
    (at.work / "data/images/links").symlink_to(at.outside)
    at.write("data/meta/test.txt", "red/1\nlinks/x\n")
    return at.audit("--data", "food101:data")


@hostile("outside of data")
def a_list_of_pets(at: Place) -> list[str]:
    (at.outside / "secret_1.jpg").write_bytes((at.outside / "secret.png").read_bytes())
    at.image("data/images/red_1.jpg")
    at.write("data/annotations/test.txt", "red_1 1 1 1\n../../../outside/secret_1 2 1 1\n")
    return at.audit("--data", "pets:data")


@hostile("is no pickle of plain arrays .it asks for ")
def a_pickle_of_cifar(at: Place) -> list[str]:
    at.write("data/test_batch", at.harm())
    return at.audit("--data", "cifar10:data")


@hostile(r"data must be uint8 \[n, 3072\]")
def a_pickle_of_cifar_that_lies_of_its_type(at: Place) -> list[str]:
    whole = pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}, protocol=2)
    at.write("data/test_batch", whole.replace(b"X\x02\x00\x00\x00u1", b"X\x02\x00\x00\x00O8", 1))
    return at.audit("--data", "cifar10:data")


@hostile("is broken or no archive of plain arrays")
def an_archive_with_a_pickle(at: Place) -> list[str]:
    arrays = {"label": np.array([0, 1]), "classes": np.array(["red", "blue"])}
    with (at.work / "x.npz").open("wb") as file:
        np.savez(file, image=np.array([Harm(at.marker)], dtype=object), **arrays)
    return at.audit("--data", "cifar10:x.npz")


@hostile("unpacks to .* MB, .* times its size")
def an_archive_that_unpacks_without_end(at: Place) -> list[str]:
    with zipfile.ZipFile(at.work / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in ("image", "label", "classes"):
            archive.writestr(f"{name}.npy", bytes(40 << 20))
    return at.audit("--data", "cifar10:x.npz")


@hostile("is broken or no archive of plain arrays")
def an_array_of_absurd_shape(at: Place) -> list[str]:
    head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (9000000000000000, 32, 32, 3)}"
    head = head.ljust(118 - 1) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head
    with zipfile.ZipFile(at.work / "x.npz", "w") as archive:
        for name in ("image", "label", "classes"):
            archive.writestr(f"{name}.npy", array)
    return at.audit("--data", "cifar10:x.npz")


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG, which says how large it is."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\0IDAT"


@hostile("is too large")
def an_image_of_50_000_by_50_000(at: Place) -> list[str]:
    at.image("data/red/1.png")
    at.write("data/blue/1.png", png(50_000, 50_000))
    return at.audit("--data", "folder:data", "--samples", "0")


@hostile("is 10000x9000, 90.0 megapixels; shrink it")
def an_image_that_pillow_would_only_warn_of(at: Place) -> list[str]:
    at.image("data/red/1.png")
    at.write("data/blue/1.png", png(10_000, 9_000))
    return at.audit("--data", "folder:data", "--samples", "0")


@hostile(r"0x0|cannot be read as an image")
def an_image_without_a_pixel(at: Place) -> list[str]:
    at.image("data/red/1.png")
    at.write("data/blue/1.gif", b"GIF89a\0\0\0\0\0\0\0,\0\0\0\0\0\0\0\0\0\x02\x02L\x01\0;")
    return at.audit("--data", "folder:data", "--samples", "0")


@hostile("is no regular file, and reading it might never end")
def a_pipe_among_images(at: Place) -> list[str]:
    at.image("data/red/1.png")
    at.image("data/blue/1.png")
    os.mkfifo(at.work / "data/blue/2.png")
    return at.audit("--data", "folder:data")


@hostile("is no regular file")
def a_pipe_for_a_table(at: Place) -> list[str]:
    os.mkfifo(at.work / "x.csv")
    return at.retrieval("csv:x.csv")


@hostile("is no regular file")
def a_pipe_for_a_batch(at: Place) -> list[str]:
    os.mkfifo(at.work / "x.npz")
    return at.audit("--data", "cifar10:x.npz")


@hostile("x.json is no JSON")
def annotations_of_great_depth(at: Place) -> list[str]:
    at.write("x.json", '[{"image":' * 100_000)
    return at.retrieval("sga:x.json")


@hostile("x.json is no JSON .*digits")
def annotations_with_a_number_without_end(at: Place) -> list[str]:
    at.write("x.json", f"[{'9' * 10_000}]")
    return at.retrieval("sga:x.json")


@hostile("must be {0: 'tench', 1: 'goldfish', ...}")
def labels_that_are_an_expression(at: Place) -> list[str]:
    for name, array in {"x_advs": np.zeros((1, 3, 8, 8)), "x_inits": np.zeros((1, 3, 8, 8))}.items():
        np.save(at.work / name, array)
    at.write(
        "imagenet1000_clsidx_to_labels.txt", "(" * 5_000 + f"__import__('pathlib').Path({str(at.marker)!r}).touch()"
    )
    return at.audit("--data", "illusions:.")


# --- studies and runs ----------------------------------------------------------------------------


@hostile(r"name = '../../outside/run': it becomes a folder in runs/")
def a_study_that_names_a_folder(at: Place) -> list[str]:
    return ["audit", str(at.write("x.toml", 'name = "../../outside/run"\n'))]


@hostile("x.toml is no TOML")
def a_study_of_great_depth(at: Place) -> list[str]:
    return ["audit", str(at.write("x.toml", "x = " + "[" * 10_000))]


@hostile(r"folder \$\{TOKEN\}|\$\{TOKEN\} cannot be read as a folder")
def a_study_that_asks_for_a_secret(at: Place) -> list[str]:
    return at.audit("--data", "folder:${TOKEN}")


@hostile(r"unknown model 'scenes:\$\{TOKEN\}'")
def a_model_called_like_a_secret(at: Place) -> list[str]:
    return at.audit("--model", "scenes:${TOKEN}")


@hostile(r"unknown model")
def a_model_whose_name_commands_the_terminal(at: Place) -> list[str]:
    return at.audit("--model", f"scenes{ESCAPES}")


@hostile(r"records.jsonl is a link that leads out of run")
def a_run_that_is_written_through_a_link(at: Place) -> list[str]:
    (at.work / "run").mkdir()
    (at.work / "run/records.jsonl").symlink_to(at.outside / "secret.txt")
    return at.audit()


@hostile(r"adversarial is a link that leads out of run")
def a_run_whose_folder_is_a_link(at: Place) -> list[str]:
    (at.work / "run").mkdir()
    (at.work / "run/adversarial").symlink_to(at.outside)
    return at.audit()


@hostile(r"secret.safetensors is a link that leads out of part")
def a_shard_with_a_link(at: Place) -> list[str]:
    at.write("part/run.json", {"study": {}})
    (at.work / "part/adversarial").mkdir()
    (at.work / "part/adversarial/secret.safetensors").symlink_to(at.outside / "secret.txt")
    return ["merge", "part", "--out", "whole"]


@hostile("runs code, scenes:clip, python:evil:net, .*--trust")
def a_shard_whose_study_is_code(at: Place) -> list[str]:
    at.write("evil.py", f"import pathlib\npathlib.Path({str(at.marker)!r}).touch()\n")
    at.write("part/run.json", {"study": {"defenses": [{"auxiliary": "scenes:clip, python:evil:net"}]}})
    return ["merge", "part", "--out", "whole"]


@hostile(r"runs code, file:x.pt2\?trust=true, .*--trust")
def a_shard_that_trusts_itself(at: Place) -> list[str]:
    at.write("x.pt2", at.harm())
    at.write("part/run.json", {"study": {"models": ["file:x.pt2?trust=true"]}})
    return ["merge", "part", "--out", "whole"]


@hostile(r"runs code, plugins = \['evil'\], .*--trust")
def a_shard_with_a_plugin(at: Place) -> list[str]:
    at.write("evil.py", f"import pathlib\npathlib.Path({str(at.marker)!r}).touch()\n")
    at.write("part/run.json", {"study": {"plugins": ["evil"]}})
    return ["merge", "part", "--out", "whole"]


@hostile("audit.json is no JSON")
def a_result_of_great_depth(at: Place) -> list[str]:
    at.write("run/audit.json", '{"a":' * 100_000)
    return ["report", "run"]


@hostile("no part of an adversarial set")
def an_adversarial_set_with_an_absurd_header(at: Place) -> list[str]:
    at.write("run/adversarial/abc/00000.safetensors", struct.pack("<Q", 2**62) + b"{}")
    return ["rescore", "run/adversarial/abc"]


# --- what holds of all of them --------------------------------------------------------------------


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A fresh place, with a secret in the environment and in what lies outside."""
    place = Place(tmp_path / "work", tmp_path / "outside", tmp_path / "ran")
    place.work.mkdir()
    place.outside.mkdir()
    Image.new("RGB", (8, 8), (200, 0, 0)).save(place.outside / "secret.png")
    (place.outside / "secret.txt").write_text(f"{SECRET}\nwithout an end")
    monkeypatch.chdir(place.work)
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n" * 100))
    return place


def everything(folder: Path) -> dict[str, bytes]:
    """All files below a folder, links for what they are."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file())
    return {str(path): os.readlink(path).encode() if path.is_symlink() else path.read_bytes() for path in files}


def run(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> int:
    """The status of a command line."""
    monkeypatch.setattr(sys, "argv", ["secondlook", *words])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 30


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_input_is_refused_in_one_line(
    at: Place, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said, case = CASES[name]
    words = case(at)
    before = everything(at.outside)
    status = run(monkeypatch, words)
    out, err = capsys.readouterr()
    assert status == 2, (out, err)
    (line,) = console.said(err)
    assert line.startswith("error: ") and re.search(said, line), line
    assert not at.marker.exists()
    assert everything(at.outside) == before
    told = "".join([out, err, *(text.decode(errors="replace") for text in everything(at.work / "run").values())])
    assert SECRET not in told and not set(told) & set("\x1b\x07\x9b\u202e")


def test_code_that_a_checkpoint_brings_along_is_neither_run_nor_asked_for(at: Place) -> None:
    from transformers import AutoImageProcessor, AutoTokenizer

    at.write("hub/evil.py", f"import pathlib\npathlib.Path({str(at.marker)!r}).touch()\nclass Evil: pass\n")
    at.write("hub/config.json", {"model_type": "mine", "auto_map": {"AutoConfig": "evil.Evil"}})
    at.write("hub/tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}})
    processor = {"image_processor_type": "Evil", "auto_map": {"AutoImageProcessor": "evil.Evil"}}
    at.write("hub/preprocessor_config.json", processor)
    checkpoint = Checkpoint(source=str(at.work / "hub"), family="hf")
    for kind in (AutoTokenizer, AutoImageProcessor):
        with pytest.raises(ValueError, match="cannot be loaded"):
            checkpoint.made(kind.from_pretrained, "its files")
    assert not at.marker.exists()


class Tags(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]


SCRIPT = "<script>steal()<img src=x onerror=steal()>\"' onload=steal() {{7*7}} [x](javascript:steal) | `x` "


@pytest.fixture
def published(at: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[Path, str]:
    """A run with hostile names wherever there are names, in a home folder; and what was printed."""
    home = at.work / "home" / "alice"
    monkeypatch.setenv("HOME", str(home))
    data = tiny.write_folder(home / "pictures", 6)
    (data / "red").rename(data / f"{SCRIPT}{ESCAPES} red")
    monkeypatch.setenv("PICTURES_HERE", str(data))
    study = {
        "title": f"{SCRIPT}\u202e ${{TOKEN}} $TOKEN\n\n# big",
        "about": f"{SCRIPT} ${{TOKEN}}",
        "examples": 3,
        "models": ["python:tests.tiny:eye"],
        "task": {"data": "folder:${PICTURES_HERE}"},
        "attack": {"name": "illusion", "steps": 2},
        "defenses": [{"name": "undefended", "label": f"{SCRIPT}{ESCAPES}"}],
    }
    path = at.write("x.toml", "\n".join(f"{key} = {toml(value)}" for key, value in study.items()))
    assert run(monkeypatch, ["audit", path.name, "--out", str(home / "run")]) == 0, capsys.readouterr()
    assert run(monkeypatch, ["report", str(home / "run"), "--markdown"]) == 0
    out, err = capsys.readouterr()
    assert not at.marker.exists()
    return home / "run", out + err


def toml(value: object) -> str:
    """A value as TOML has it."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {toml(each)}' for key, each in value.items())}}}"
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else json.dumps(value)


def test_names_and_titles_are_text_and_nothing_else(published: tuple[Path, str]) -> None:
    folder, printed = published
    page, written = Tags(), (folder / "report.html").read_text(encoding="utf-8")
    page.feed(written)
    own = written[written.index("<script>") + len("<script>") : written.index("</script>")]
    assert page.tags.count("script") == 1 and "steal" not in own
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    (policy,) = [value for key, value in page.attributes if key == "content" and "script-src" in value]
    assert f"script-src 'sha256-{digest}';" in policy
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    links = [value for key, value in page.attributes if key in ("src", "href", "action", "srcset")]
    assert links and all(value.startswith(("data:image/png;base64,", "#")) for value in links)
    assert "steal" in (folder / "report.html").read_text(encoding="utf-8")
    # On the terminal, and in Markdown, which is printed last.
    assert not set(printed) & set("\x1b\x07\x9b\u202e")
    markdown = printed[printed.rindex("\n## ") :]
    assert "<script" not in markdown and "](javascript" not in markdown.replace("\\]", "")
    assert not [line for line in markdown.splitlines() if line.startswith("#")][1:]


def test_what_is_shared_tells_no_variable_and_no_folder(published: tuple[Path, str], at: Place) -> None:
    folder, printed = published
    files = everything(folder)
    assert {Path(name).name for name in files} >= {"run.json", "audit.json", "report.html", "gallery.json"}
    told = {name: content.decode(errors="replace") for name, content in files.items()}
    for name, text in {**told, "printed": printed.replace(str(folder), "")}.items():
        assert SECRET not in text, name
        assert "alice" not in text and str(at.work) not in text, name
    head = json.loads(told[str(folder / "run.json")])
    assert head["study"]["task"]["data"] == "folder:${PICTURES_HERE}"
    assert head["command"] == "secondlook audit x.toml --out ~/run"
