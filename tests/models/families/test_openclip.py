"""The family `openclip`: a tiny checkpoint of its own format, against its own answers."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from secondlook.errors import InvalidInput, UnknownName
from secondlook.models import listed, load
from secondlook.models.base import Embedder
from secondlook.models.families.openclip import preprocessing
from tests.models import auditing

TINY = {
    "embed_dim": 12,
    "quick_gelu": False,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
TEXTS = ("a photo of a cat", "two dogs and a very small blue bird", "photo")


@pytest.fixture(scope="session")
def open_clip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The library, beside a torchvision without its compiled part; knows two tiny models."""
    for name in ("open_clip", "torchvision"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed; pip install open_clip_torch torchvision")
    library = _imported()
    folder = tmp_path_factory.mktemp("configs")
    (folder / "tiny.json").write_text(json.dumps(TINY))
    (folder / "tiny-quickgelu.json").write_text(json.dumps({**TINY, "quick_gelu": True}))
    library.add_model_config(folder)
    return library


def _imported() -> Any:
    """Without its compiled part torchvision stops at operators that it expects to be registered."""
    found = importlib.util.find_spec("torchvision")
    assert found is not None and found.origin is not None
    text = (Path(found.origin).parent / "_meta_registrations.py").read_text()
    schemas = torch.library.Library("torchvision", "FRAGMENT")
    try:
        return importlib.import_module("open_clip")
    except RuntimeError:
        for name in list(sys.modules):
            if name.split(".")[0] in ("torchvision", "open_clip"):
                del sys.modules[name]
        for operator in re.findall(r"torchvision::(\w+)", text):
            schemas.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return importlib.import_module("open_clip")


@pytest.fixture(scope="session")
def made(open_clip: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights in a file, and a folder as open_clip pushes it to the hub."""
    folder = tmp_path_factory.mktemp("openclip")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = open_clip.create_model("tiny")
    torch.save(network.state_dict(), folder / "open_clip_pytorch_model.bin")
    prepared = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear", "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": prepared}))
    return folder


@pytest.fixture
def file(made: Path) -> str:
    return f"openclip:tiny/{made / 'open_clip_pytorch_model.bin'}"


def picture() -> Image.Image:
    rows = np.linspace(0, 128, 40)[:, None, None] * np.ones((1, 61, 3))
    noise = np.random.default_rng(0).random((40, 61, 3)) * 127
    return Image.fromarray((rows + noise).astype(np.uint8))


def pixels() -> Tensor:
    return torch.from_numpy(np.array(picture())).permute(2, 0, 1)[None].float() / 255


def unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_vectors_are_those_of_open_clip(open_clip: Any, made: Path, file: str, kind: str) -> None:
    name = file if kind == "file" else f"openclip:local-dir:{made}"
    model = load(name)
    assert isinstance(model, Embedder)
    assert (model.name, model.size) == (name, (32, 32))
    arch, _, weights = name.removeprefix("openclip:").partition("/" if kind == "file" else "?")
    network, _, prepare = open_clip.create_model_and_transforms(arch, weights or None)
    network.eval()
    with torch.no_grad():
        texts = unit(network.encode_text(open_clip.get_tokenizer(arch)(list(TEXTS))))
        exact = unit(network.encode_image(model.preprocessing(pixels())))
        theirs = prepare(picture())[None]
    assert torch.allclose(model.embed_text(TEXTS), texts, atol=1e-5)
    assert torch.allclose(model.embed(pixels()), exact, atol=1e-5)
    std = torch.tensor(model.preprocessing.std).view(3, 1, 1)
    off = (model.preprocessing(pixels()) - theirs) * std * 255
    assert float(off.abs().max()) < 1e-3


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [31, 32])
def test_pixels_are_those_of_its_transform(open_clip: Any, mode: str, kernel: str, size: int) -> None:
    settings = {
        "size": size,
        "mean": (0.0,) * 3,
        "std": (1.0,) * 3,
        "interpolation": kernel,
        "resize_mode": mode,
        "fill_color": 0,
    }
    transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**settings), is_train=False)
    ours = preprocessing(settings, "x", "native")
    for shown in (picture(), picture().rotate(90, expand=True), picture().crop((0, 0, 20, 33))):
        x = torch.from_numpy(np.array(shown)).permute(2, 0, 1)[None].float() / 255
        theirs = transform(shown)[None]
        assert ours(x).shape == theirs.shape
        assert float((ours(x) - theirs).abs().max()) * 255 < 1e-3


def test_gradients_reach_the_pixels_and_weights_are_frozen(open_clip: Any, file: str) -> None:
    model, x = load(file), pixels().requires_grad_(True)
    (gradient,) = torch.autograd.grad(model.embed(x)[0, 0], x)
    # The crop sees the middle of the longer edge alone.
    assert float(gradient[..., 30].abs().sum()) > 0
    assert float(gradient[..., 0].abs().sum()) == 0
    assert not model.network.training
    assert not any(weight.requires_grad for weight in model.network.parameters())


def test_vectors_do_not_depend_on_the_batch(open_clip: Any, file: str) -> None:
    model = load(file)
    together = model.embed_text(TEXTS)
    assert torch.allclose(together.norm(dim=-1), torch.ones(3), atol=1e-5)
    assert torch.allclose(model.embed_text(TEXTS, batch=1), together, atol=1e-5)
    assert model.tokenizer.hash == load(file).tokenizer.hash


def test_both_resolutions(open_clip: Any, file: str) -> None:
    native = load(f"{file}?resolution=native")
    assert native.size is None
    assert torch.allclose(native.embed(pixels()), load(file).embed(pixels()), atol=1e-6)


@pytest.mark.parametrize("tail", ["", "?resolution=native&dtype=bf16", "?checkpoint=true"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_from_its_name_to_the_end_of_an_audit(
    open_clip: Any, made: Path, file: str, tmp_path: Path, kind: str, tail: str
) -> None:
    name = file if kind == "file" else f"openclip:local-dir:{made}"
    auditing.check(f"{name}{tail}", tmp_path)


def test_another_activation_than_the_weights_had_is_refused(open_clip: Any) -> None:
    for wrong, right in (
        ("ViT-B-32/openai", "ViT-B-32-quickgelu/openai"),
        ("RN50/openai", "RN50-quickgelu/openai"),
        ("ViT-B-32-quickgelu/laion2b_s34b_b79k", "ViT-B-32/laion2b_s34b_b79k"),
    ):
        with pytest.raises(InvalidInput, match=f"write openclip:{re.escape(right)}$"):
            load(f"openclip:{wrong}")


def test_every_tag_has_an_architecture_to_name(open_clip: Any) -> None:
    from secondlook.models.families.openclip import _parts

    for arch, tag in open_clip.list_pretrained():
        try:
            assert _parts(open_clip, f"{arch}/{tag}") == (arch, tag)
        except InvalidInput as error:
            named = str(error).rpartition("openclip:")[2]
            assert _parts(open_clip, named) == tuple(named.split("/"))


def test_what_cannot_be_used_is_told(open_clip: Any, made: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"architecture of open_clip 'ViT-B'; did you mean"):
        load("openclip:ViT-B/32")
    with pytest.raises(InvalidInput, match="names no weights; write ViT-H-14/ and one of: laion2b"):
        load("openclip:ViT-H-14")
    with pytest.raises(UnknownName, match="weights of ViT-H-14: 'laion2b'; did you mean laion2b_s"):
        load("openclip:ViT-H-14/laion2b")
    with pytest.raises(UnknownName, match=r"file, or weights of tiny: '/nowhere.pt'"):
        load("openclip:tiny//nowhere.pt")
    with pytest.raises(InvalidInput, match="cannot be loaded.*openclip:local-dir:FOLDER"):
        load(f"openclip:local-dir:{tmp_path}")
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    with pytest.raises(InvalidInput, match="cannot be loaded"):
        load(f"openclip:tiny/{tmp_path / 'broken.pt'}")


def test_without_weights_a_folder_is_refused(open_clip: Any, made: Path, tmp_path: Path) -> None:
    text = (made / "open_clip_config.json").read_text()
    (tmp_path / "open_clip_config.json").write_text(text)
    with pytest.raises(InvalidInput, match="cannot be loaded"):
        load(f"openclip:local-dir:{tmp_path}")


def test_without_a_network_the_error_says_what_to_write(open_clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InvalidInput, match="without a network write openclip:ARCH/FILE"):
        load("openclip:hf-hub:somebody/something")


def test_preparations_that_are_not_known_are_refused() -> None:
    known = {
        "size": 32,
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    }
    assert preprocessing(known, "x", "input").size == (32, 32)
    for changed in ({"interpolation": "random"}, {"size": (32, 48)}, {"fill_color": 7}):
        with pytest.raises(InvalidInput, match="x wants its images prepared in an unknown way"):
            preprocessing({**known, **changed}, "x", "input")


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(InvalidInput, match=r'pip install "secondlook\[openclip\]"'):
        load("openclip:ViT-B-32/openai")


def test_nothing_is_listed() -> None:
    assert listed("openclip") == {}
