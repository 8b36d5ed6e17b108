"""ImageBind: a tiny checkpoint in the published format, against the published code's answers."""

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from secondlook import registry
from secondlook.errors import InvalidInput, UnknownName
from secondlook.ledger import counting
from secondlook.models import load
from secondlook.models.families.imagebind import ImageBindEmbedder, mel_clips
from secondlook.models.families.imagebind.network import Arguments, ImageBindNetwork, Modality
from secondlook.models.io.preprocessing import centered
from secondlook.models.text.bpe import VOCABULARY
from tests import published
from tests.closeness import same
from tests.published import Golden

INPUTS: dict[str, Modality] = {
    "vision": "vision",
    "vision_video": "vision",
    "text": "text",
    "audio": "audio",
    "depth": "depth",
    "thermal": "thermal",
    "imu": "imu",
}
SHAPES: dict[Modality, tuple[int, ...]] = {
    "vision": (3, 224, 224),
    "text": (77,),
    "audio": (3, 1, 128, 204),
    "depth": (1, 224, 224),
    "thermal": (1, 224, 224),
    "imu": (6, 2000),
}


@pytest.fixture(scope="module")
def told(shared: Path) -> Golden:
    return published.read("imagebind_tiny", shared / "golden")


@pytest.fixture(scope="module")
def folder(told: Golden, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("imagebind")
    published.save(made / "tiny.pth", told.weights, told.card["constructor_args"])
    (made / VOCABULARY).symlink_to(shared / "data" / "tokenizer" / VOCABULARY)
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> ImageBindEmbedder:
    loaded = load(f"imagebind:{folder / 'tiny.pth'}")
    assert isinstance(loaded, ImageBindEmbedder)
    return loaded


def picture(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", INPUTS)
def test_answers_are_golden(model: ImageBindEmbedder, told: Golden, name: str) -> None:
    modality, x = INPUTS[name], told.inputs[name]
    head = model.network.head(modality, x)
    torch.testing.assert_close(head, told.outputs[f"{name}_head"], atol=2e-5, rtol=1e-4)
    scale = told.card["semantics"]["this_file_log_logit_scale"].get(modality, 0)
    found, wanted = model.network(modality, x), told.outputs[name]
    torch.testing.assert_close(found / scale_of(scale), wanted / scale_of(scale), atol=1e-5, rtol=0)


def scale_of(log_scale: float) -> float:
    return float(torch.tensor(log_scale).exp())


def test_the_images_gradient_is_golden(model: ImageBindEmbedder, told: Golden) -> None:
    x = told.inputs["vision"].clone().requires_grad_(True)
    words = F.normalize(model.network("text", told.inputs["text"][:2]), dim=-1)
    (slope,) = torch.autograd.grad((model.network("vision", x) * words).sum(), x)
    wanted = told.outputs["grad_vision_patchmean"]
    largest = float(wanted.abs().max())
    torch.testing.assert_close(F.avg_pool2d(slope, 14), wanted, atol=1e-3 * largest, rtol=1e-3)
    torch.testing.assert_close(slope.abs().mean(), told.outputs["grad_vision_absmean"][0], atol=0, rtol=1e-3)


def test_the_defaults_are_imagebind_huge() -> None:
    card = published.card("imagebind_huge_keys")
    assert Arguments(**card["imagebind_huge_args"]) == Arguments()
    with torch.device("meta"):
        network = ImageBindNetwork(Arguments())
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    assert shapes == card["keys"] and len(shapes) == 1311
    assert sum(p.numel() for p in network.parameters()) == card["n_params"]
    assert sorted(key for key, _ in network.named_buffers()) == sorted(card["buffers"])
    for modality, shape in SHAPES.items():
        kind = torch.int64 if modality == "text" else torch.float32
        x = torch.empty(2, *shape, dtype=kind, device="meta")
        assert network(modality, x).shape == (2, 1024)


def test_pixels_are_normalized_inside(model: ImageBindEmbedder) -> None:
    x = picture(2, 3, 224, 224)
    assert same(model.embed(x), model.network("vision", centered(224).normalized(x)))
    assert model.embed(x).norm(dim=-1).allclose(torch.ones(2))


def test_the_middle_of_another_size_is_seen_and_differentiated(model: ImageBindEmbedder) -> None:
    x = picture(1, 3, 224, 300).requires_grad_(True)
    seen = model.embed(x)
    torch.testing.assert_close(seen, model.embed(x[..., 38:262]))
    (slope,) = torch.autograd.grad(seen.sum(), x)
    assert (slope[..., 38:262] != 0).float().mean() > 0.99
    assert not slope[..., :38].any() and not slope[..., 262:].any()


@pytest.mark.parametrize("size", [(64, 48), (301, 250)])
def test_gradients_come_through_the_resizing(model: ImageBindEmbedder, size: tuple[int, int]) -> None:
    x = (0.3 + 0.4 * picture(1, 3, *size)).requires_grad_(True)
    (slope,) = torch.autograd.grad(model.embed(x)[:, 0].sum(), x)
    assert slope.isfinite().all() and (slope != 0).float().mean() > 0.5


def test_texts_are_read(model: ImageBindEmbedder) -> None:
    ids = torch.zeros(1, 77, dtype=torch.int64)
    ids[0, :7] = torch.tensor([49406, 320, 1125, 539, 320, 2368, 49407])
    found = model.embed_text(["A photo of a cat", "a dog"])
    torch.testing.assert_close(found[:1], F.normalize(model.network("text", ids), dim=-1))
    assert found.norm(dim=-1).allclose(torch.ones(2)) and not found[0].allclose(found[1])


def test_signals_are_encoded_and_counted(model: ImageBindEmbedder, told: Golden) -> None:
    with counting() as ledger:
        for signal in model.signals:
            x = told.inputs[signal].clone().requires_grad_(True)
            found = model.encode(signal, x)
            torch.testing.assert_close(found, told.outputs[signal], atol=1e-4, rtol=1e-5)
            torch.autograd.grad(found.sum(), x)
    assert (ledger.forwards, ledger.backwards) == (8, 8)


def test_a_clip_alone_is_the_average_of_itself(model: ImageBindEmbedder, told: Golden) -> None:
    clips = told.inputs["audio"]
    alone = (model.encode("audio", clips[:, 0]) + model.encode("audio", clips[:, 1])) / 2
    torch.testing.assert_close(model.encode("audio", clips), alone)


def test_sound_is_heard_from_its_waveform(model: ImageBindEmbedder) -> None:
    sound = (0.2 * (picture(2, 40_000) - 0.5)).requires_grad_(True)
    found = model.encode("audio", mel_clips(sound))
    (slope,) = torch.autograd.grad(found[:, 0].sum(), sound)
    assert found.shape == (2, 32) and (slope != 0).float().mean() > 0.9


def test_a_signal_of_another_shape_is_refused(model: ImageBindEmbedder) -> None:
    with pytest.raises(InvalidInput, match=r"give floats \[B, 1, 128, 204\] or \[B, clips, 1, 128"):
        model.encode("audio", torch.zeros(2, 1, 128, 198))
    with pytest.raises(InvalidInput, match=r"give floats \[B, 6, 2000\]$"):
        model.encode("imu", torch.zeros(2, 3, 6, 2000))
    with pytest.raises(InvalidInput, match="NaN"):
        model.encode("depth", torch.full((1, 1, 224, 224), torch.nan))
    with pytest.raises(UnknownName, match="there is: audio, depth, imu, thermal"):
        model.encode("vision", torch.zeros(1, 3, 224, 224))  # type: ignore[arg-type]


def test_safetensors_and_a_vocabulary_elsewhere(
    model: ImageBindEmbedder, told: Golden, folder: Path, tmp_path: Path
) -> None:
    save_file(told.weights, tmp_path / "tiny.safetensors")
    shutil.copy(folder / "tiny.json", tmp_path)
    settings = {"name": str(tmp_path / "tiny.safetensors"), "vocabulary": folder / VOCABULARY}
    other = registry.build("model", "imagebind", settings).load()
    assert other.hash == model.hash
    torch.testing.assert_close(other.embed_text(["a cat"]), model.embed_text(["a cat"]))
    assert not any(p.requires_grad or p.is_meta for p in other.network.parameters())


def broken(folder: Path, name: str, told: Golden, weights: object) -> str:
    path = published.save(folder / name, weights, told.card["constructor_args"])
    return f"imagebind:{path}"


def test_what_does_not_fit_is_named(folder: Path, told: Golden) -> None:
    weights = dict(told.weights)
    key, other = "modality_heads.imu.3.weight", "modality_heads.vision.0.bias"
    held = weights.pop(key)
    with pytest.raises(InvalidInput, match=rf"lacks {key};.* a JSON of the same name"):
        load(broken(folder, "lacks.pth", told, weights))
    with pytest.raises(InvalidInput, match="the network has not, more, more_still, more_yet and 1"):
        extra = dict.fromkeys(("more", "more_still", "more_yet", "most"), held)
        load(broken(folder, "more.pth", told, told.weights | extra))
    with pytest.raises(InvalidInput, match=rf"{other} \[1\] for \[48\]"):
        load(broken(folder, "bent.pth", told, told.weights | {other: torch.zeros(1)}))


def test_wrong_files_are_named(folder: Path, told: Golden, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no file .*tini.pth; its folder has .*tiny.pth"):
        load(f"imagebind:{folder / 'tini.pth'}")
    with pytest.raises(InvalidInput, match="holds no state dict"):
        load(broken(folder, "list.pth", told, [1, 2]))
    bare = broken(tmp_path, "tiny.pth", told, told.weights)
    with pytest.raises(InvalidInput, match=f"put {VOCABULARY} into {tmp_path}, beside tiny.pth"):
        load(bare)
    (tmp_path / "tiny.json").write_text('{"vision_heads": 4}')
    with pytest.raises(InvalidInput, match=r"tiny.json: vision_heads: .*write it like \{"):
        load(bare)


class _Evil:
    """What a checkpoint must not be able to do."""

    def __reduce__(self) -> tuple[object, ...]:
        return pytest.fail, ("code in a checkpoint was run",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"model": _Evil()}))
    with pytest.raises(InvalidInput, match="reads without running code"):
        load(f"imagebind:{path}")
    torch.save({"model": _Evil()}, path)
    with pytest.raises(InvalidInput, match="reads without running code"):
        load(f"imagebind:{path}")
