"""The family `hf`: tiny checkpoints in the hub's format, against transformers' own answers."""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from secondlook.errors import InvalidInput, UnknownName
from secondlook.ledger import counting
from secondlook.models import listed, load
from secondlook.models.base import Embedder, Matcher
from secondlook.models.families.hf.embedders import Padding, Tokens
from tests.models import auditing, hub_models

transformers = pytest.importorskip("transformers")

SEEING = ("clip", "siglip", "siglip2", "align", "blip", "altclip", "chinese_clip")
KINDS = (*SEEING, "clap")
TEXTS = ("a red cat", "the two small dog and the blue cat", "photo")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    for kind in KINDS:
        hub_models.save(folder, kind)
    return folder


@pytest.fixture(scope="module")
def models(made: Path) -> Mapping[str, Any]:
    return {kind: load(f"hf:{made / kind}") for kind in KINDS}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)


def shown(kind: str) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Pixels, and what the family's own processor makes of the same 8-bit picture."""
    rows = np.linspace(0, 255, 40)[:, None, None] * np.ones((1, 52, 3))
    picture = (0.5 * rows + 0.5 * noise(40, 52, 3).numpy() * 255).round().astype(np.uint8)
    prepared = hub_models.processor(kind)(Image.fromarray(picture), return_tensors="pt")
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255, prepared


@pytest.mark.parametrize("kind", [kind for kind in SEEING if kind != "blip"])
def test_vectors_are_those_of_transformers(made: Path, models: Mapping[str, Any], kind: str) -> None:
    model, (x, prepared) = models[kind], shown(kind)
    full = {"siglip": 64, "siglip2": 64, "align": 64}.get(kind)
    how = {"padding": "max_length", "max_length": full} if full else {"padding": True}
    words = transformers.AutoTokenizer.from_pretrained(made / kind)
    tokens = dict(words(list(TEXTS), return_tensors="pt", return_token_type_ids=False, **how))
    if kind in ("siglip", "siglip2"):
        del tokens["attention_mask"]
    with torch.no_grad():
        answer = model.network(**tokens, **prepared)
        exact = model.network(**tokens, **{**prepared, **as_given(model, x)})
    assert torch.allclose(model.embed_text(TEXTS), unit(answer.text_embeds), atol=1e-5)
    assert torch.allclose(model.embed(x), unit(exact.image_embeds), atol=1e-5)
    # Their own picture went through 8 bits, and so does ours.
    assert torch.allclose(model.embed(x), unit(answer.image_embeds), atol=1e-4)


def as_given(model: Any, x: Tensor) -> Mapping[str, Tensor]:
    if hasattr(model, "patches"):
        patches: Mapping[str, Tensor] = model.patches(x)
        return patches
    return {"pixel_values": model.preprocessing(x)}


def test_blips_cosines_and_matches_are_those_of_transformers(models: Mapping[str, Any]) -> None:
    x, prepared = shown("blip")
    model = models["blip"]
    tokens = hub_models.tokenizer()(list(TEXTS), return_tensors="pt", padding=True, return_token_type_ids=False)
    pixels = prepared["pixel_values"]
    with torch.no_grad():
        cosines = model.network(**tokens, pixel_values=pixels, use_itm_head=False).itm_score
        logits = model.network(**tokens, pixel_values=pixels.expand(3, -1, -1, -1)).itm_score
    assert torch.allclose(model.embed(x) @ model.embed_text(TEXTS).T, cosines, atol=5e-3)
    assert isinstance(model, Matcher)
    pairs = torch.tensor([[0, 0], [0, 1], [0, 2]])
    assert torch.allclose(model.match_logits(x, TEXTS, pairs), logits, atol=5e-3)
    assert torch.allclose(model.match(x.expand(3, -1, -1, -1), TEXTS), logits.softmax(-1)[:, 1], atol=5e-3)


def test_a_match_belongs_to_its_pair_and_has_a_gradient(models: Mapping[str, Any]) -> None:
    model, x = models["blip"], noise(2, 3, 32, 32).requires_grad_(True)
    pairs = torch.tensor([[1, 2], [0, 0], [1, 0]])
    logits = model.match_logits(x, TEXTS, pairs)
    alone = model.match_logits(x[1:], TEXTS[2:])
    assert torch.allclose(logits[:1], alone, atol=1e-5)
    (gradient,) = torch.autograd.grad(logits[1, 1], x)
    assert float(gradient[0].abs().sum()) > 0
    assert float(gradient[1].abs().sum()) == 0


@pytest.mark.parametrize("kind", SEEING)
def test_the_gradient_is_the_slope(made: Path, kind: str) -> None:
    model = load(f"hf:{made / kind}")
    # Rounding to 8 bits has no slope; the gradient goes straight through it.
    name = "patches" if hasattr(model, "patches") else "preprocessing"
    setattr(model, name, replace(getattr(model, name), rounding=False))
    model.network.double()
    x = (0.3 + 0.4 * noise(1, 3, 48, 40).double()).requires_grad_(True)

    def score(v: Tensor) -> Tensor:
        return unit(model.encode_image(v))[0, 0]

    (gradient,) = torch.autograd.grad(score(x), x)
    step = 1e-4 * gradient / gradient.norm()
    with torch.no_grad():
        slope = (score(x + step) - score(x - step)) / 2e-4
    assert float(slope) == pytest.approx(float(gradient.norm()), rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_have_unit_length_and_weights_are_frozen(models: Mapping[str, Any], kind: str) -> None:
    model = models[kind]
    assert isinstance(model, Embedder)
    vectors = [model.embed_text(TEXTS)]
    vectors.append(model.embed_audio(noise(2, 999)) if kind == "clap" else model.embed(noise(2, 3, 32, 32)))
    for found in vectors:
        assert found.dtype == torch.float32
        assert torch.allclose(found.norm(dim=-1), torch.ones(len(found)), atol=1e-5)
    assert not model.network.training
    assert not any(weight.requires_grad for weight in model.network.parameters())
    assert all(weight.dtype == torch.float32 for weight in model.network.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_texts_vector_does_not_depend_on_its_batch(models: Mapping[str, Any], kind: str) -> None:
    model = models[kind]
    together = model.embed_text(TEXTS)
    assert torch.allclose(model.embed_text(TEXTS, batch=1), together, atol=1e-5)
    assert torch.allclose(model.embed_text(TEXTS[::-1]), together.flip(0), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_long_texts_are_cut_to_the_positions(models: Mapping[str, Any], kind: str) -> None:
    model = models[kind]
    long = " ".join(["red cat"] * 60)
    assert model.tokenizer.encode([long], torch.device("cpu"))["input_ids"].shape[1] <= (
        model.network.config.text_config.max_position_embeddings
    )
    assert bool(model.embed_text([long]).isfinite().all())


@pytest.mark.parametrize("tail", ["", "?resolution=native&dtype=bf16"])
@pytest.mark.parametrize("kind", SEEING)
def test_from_its_name_to_the_end_of_an_audit(tmp_path: Path, kind: str, tail: str) -> None:
    folder = hub_models.save(tmp_path, kind, lively=3)
    auditing.check(f"hf:{folder}{tail}", tmp_path)


@pytest.mark.parametrize("kind", SEEING)
def test_both_resolutions(made: Path, models: Mapping[str, Any], kind: str) -> None:
    native = load(f"hf:{made / kind}?resolution=native")
    assert (models[kind].size, native.size) == ((32, 32), None)
    assert native.name != models[kind].name
    x = noise(2, 3, 61, 40)
    with torch.no_grad():
        assert torch.allclose(native.embed(x), models[kind].embed(x), atol=1e-6)


def test_a_picture_of_the_input_size_is_not_cropped_again(made: Path) -> None:
    x = noise(1, 3, 32, 32)
    as_input, native = (load(f"hf:{made / 'align'}{tail}") for tail in ("", "?resolution=native"))
    normalized = as_input.preprocessing.normalized(x)
    assert torch.equal(as_input.preprocessing(x), normalized)
    # ALIGN takes the middle of a larger picture.
    assert float((native.preprocessing(x) - normalized).abs().mean()) > 0.05


def test_settings_of_a_name_are_checked(made: Path) -> None:
    with pytest.raises(InvalidInput, match="resolution='full'"):
        load(f"hf:{made / 'clip'}?resolution=full")
    with pytest.raises(UnknownName, match="did you mean resolution"):
        load(f"hf:{made / 'clip'}?resolutoin=native")
    with pytest.raises(InvalidInput, match="write resolution=VALUE"):
        load(f"hf:{made / 'clip'}?resolution")


@pytest.mark.parametrize("samples", [700, 1333, 4000])
@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
def test_spectrograms_are_those_of_the_extractor(made: Path, tmp_path: Path, samples: int, truncation: str) -> None:
    folder = shutil.copytree(made / "clap", tmp_path / "clap")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings["truncation"] = truncation
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    extractor = hub_models.processor("clap")
    wave = 2 * noise(2, samples) - 1
    prepared = extractor([row.numpy() for row in wave], truncation=truncation, sampling_rate=4000, return_tensors="pt")[
        "input_features"
    ]
    mel = load(f"hf:{folder}").mel(wave)
    assert mel.shape == prepared.shape
    assert torch.allclose(mel, prepared.float(), atol=2e-3)


def test_clap_hears(models: Mapping[str, Any]) -> None:
    model = models["clap"]
    wave = (noise(3, 1500) - 0.5).requires_grad_(True)
    features = hub_models.processor("clap")(
        [row.detach().numpy() for row in wave], sampling_rate=4000, return_tensors="pt"
    )["input_features"]
    answer = model.network.get_audio_features(
        input_features=features.float(), is_longer=torch.zeros(3, 1, dtype=torch.bool)
    )
    vectors = model.embed_audio(wave)
    assert torch.allclose(vectors, unit(getattr(answer, "pooler_output", answer)), atol=1e-4)
    assert torch.allclose(model.embed_audio(wave[1:2]), vectors[1:2], atol=1e-5)
    (gradient,) = torch.autograd.grad(vectors[0, 0], wave)
    assert float(gradient[0].abs().sum()) > 0
    with counting() as ledger:
        model.embed_audio(wave)
    assert ledger.forwards == 3


def test_clap_refuses_what_it_cannot_hear(models: Mapping[str, Any]) -> None:
    model = models["clap"]
    for wrong, said in (
        (noise(2, 3, 100), "sounds are"),
        (noise(1, 4001), "longer than the 1 s at 4000 Hz"),
        (torch.full((1, 9), torch.nan), "NaN"),
        (noise(1, 0), "sounds are"),
    ):
        with pytest.raises(InvalidInput, match=said):
            model.embed_audio(wrong)
    with pytest.raises(InvalidInput, match="call embed_audio"):
        model.embed(noise(1, 3, 8, 8))


def test_a_tokenizer_is_told_by_what_it_does(models: Mapping[str, Any], made: Path) -> None:
    again: Tokens = load(f"hf:{made / 'clip'}").tokenizer
    assert again.hash == models["clip"].tokenizer.hash
    assert len({models[kind].tokenizer.hash for kind in ("clip", "siglip", "altclip")}) == 3


def test_half_precision_weights_are_read_in_full(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made / "clip", tmp_path / "clip")
    hub_models.NETWORKS["clip"]().half().save_pretrained(folder)
    model = load(f"hf:{folder}")
    assert model.network.dtype == torch.float32
    assert model.embed(noise(1, 3, 32, 32)).dtype == torch.float32


def test_what_cannot_be_used_is_told(made: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no folder /nowhere"):
        load("hf:/nowhere")
    with pytest.raises(InvalidInput, match="'a b/c' is neither a folder nor OWNER/NAME"):
        load("hf:a b/c")
    with pytest.raises(InvalidInput, match=r"no config.json; is it a transformers folder"):
        load(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "siglip3"}')
    with pytest.raises(UnknownName, match="did you mean siglip"):
        load(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "0000"}')
    with pytest.raises(UnknownName, match="there is: align, altclip, blip"):
        load(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("config.json", "no config.json; is it .* put config.json into it"),
        ("model.safetensors", "no model.safetensors nor .* put model.safetensors into it"),
        ("preprocessor_config.json", "no preprocessor_config.json nor processor_config.json"),
        ("tokenizer.json", "no tokenizer.json nor vocab.txt .* put tokenizer.json into it"),
    ],
)
def test_missing_files_are_named(made: Path, tmp_path: Path, file: str, said: str) -> None:
    folder = shutil.copytree(made / "clip", tmp_path / "clip")
    (folder / file).unlink()
    with pytest.raises(InvalidInput, match=said):
        load(f"hf:{folder}")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("model.safetensors", b"cut", r"model.safetensors cannot be loaded: .*; fetch it again"),
        ("config.json", b'{"model_type": "clip",', "config.json is no JSON: .*; fetch it again"),
        ("config.json", b"[]", "config.json holds no JSON object"),
        ("tokenizer.json", b'{"oops', "tokenizer.json cannot be loaded: .*; fetch it again"),
        ("preprocessor_config.json", b"{,", "preprocessor_config.json cannot be loaded: "),
    ],
)
def test_damaged_files_are_named(made: Path, tmp_path: Path, file: str, content: bytes, said: str) -> None:
    folder = shutil.copytree(made / "clip", tmp_path / "clip")
    (folder / file).write_bytes(content)
    with pytest.raises(InvalidInput, match=said):
        load(f"hf:{folder}")


class Trap:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("sprung"),))


def test_a_pickle_is_read_where_it_is_asked_for_and_runs_nothing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(made / "clip", tmp_path / "clip")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(InvalidInput, match=r"in a pickle, pytorch_model.bin; .*\?pickle=true"):
        load(f"hf:{folder}")
    assert load(f"hf:{folder}?pickle=true").hash == load(f"hf:{made / 'clip'}").hash
    torch.save({**weights, "logit_scale": Trap()}, folder / "pytorch_model.bin")
    with pytest.raises(InvalidInput, match=r"pytorch_model.bin cannot be loaded"):
        load(f"hf:{folder}?pickle=true")
    assert not (tmp_path / "sprung").exists()


def test_weights_of_another_task_are_refused(made: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(made / "blip", tmp_path / "captions")
    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if not key.startswith("itm_head")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    said = "no weights for 2 parameters of BlipForImageTextRetrieval, itm_head.bias among"
    with pytest.raises(InvalidInput, match=said):
        load(f"hf:{folder}")


def test_a_revision_is_asked_for(monkeypatch: pytest.MonkeyPatch, made: Path, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    transformers_hub = pytest.importorskip("transformers.utils.hub")
    for constant in ("HF_HUB_CACHE", "TRANSFORMERS_CACHE"):
        monkeypatch.setattr(transformers_hub.constants, constant, str(tmp_path), raising=False)
        monkeypatch.setattr(transformers_hub, constant, str(tmp_path), raising=False)
    place = tmp_path / "models--somebody--something"
    for branch, commit, kind in (("main", "0" * 40, "clip"), ("v2", "1" * 40, "siglip")):
        shutil.copytree(made / kind, place / "snapshots" / commit)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / branch).write_text(commit)
    hashes = {kind: load(f"hf:{made / kind}").hash for kind in ("clip", "siglip")}
    assert load("hf:somebody/something").hash == hashes["clip"]
    assert load("hf:somebody/something@v2").hash == hashes["siglip"]
    assert load(f"hf:somebody/something@{'1' * 40}").hash == hashes["siglip"]
    with pytest.raises(InvalidInput, match="config.json of somebody/something at the revision"):
        load("hf:somebody/something@v3")
    with pytest.raises(InvalidInput, match="somebody/something at the revision 'v4' is not on"):
        load("hf:somebody/something@v4")


def test_a_folder_may_have_an_at_in_its_name(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made / "clip", tmp_path / "clip@home")
    assert load(f"hf:{folder}").size == (32, 32)


def test_without_a_network_the_error_says_what_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InvalidInput, match="config.json of somebody/nothing.*write hf:FOLDER"):
        load("hf:somebody/nothing")


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch, made: Path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InvalidInput, match=r'pip install "secondlook\[hf\]"'):
        load(f"hf:{made / 'clip'}")


def test_nothing_is_listed() -> None:
    assert listed("hf") == {}


def test_a_processor_that_does_not_normalize_needs_no_mean(made: Path, tmp_path: Path) -> None:
    folder = copied(made / "clip", tmp_path)
    file = folder / "preprocessor_config.json"
    given = json.loads(file.read_text())
    file.write_text(json.dumps({**given, "do_normalize": False, "image_mean": None, "image_std": None}))
    found = load(f"hf:{folder}").preprocessing
    assert (found.mean, found.std) == ((0.0,) * 3, (1.0,) * 3)
    file.write_text(json.dumps({**given, "image_mean": "x"}))
    with pytest.raises(InvalidInput, match="image_mean='x'"):
        load(f"hf:{folder}")


def test_a_tokenizer_without_a_pad_token_is_refused_at_load(made: Path, tmp_path: Path) -> None:
    folder = copied(made / "clip", tmp_path)
    file = folder / "tokenizer_config.json"
    file.write_text(
        json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != "pad_token"})
    )
    with pytest.raises(InvalidInput, match="pad token"):
        load(f"hf:{folder}")


def test_gemmas_tokenizer_reads_small_letters() -> None:
    """SigLIP 2 was trained on them, and its tokenizer keeps capitals."""
    letters = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *"abcdefghijklmnopqrstuvwxyzGR", "\u2581"]
    tokenizer = transformers.GemmaTokenizer(vocab={letter: row for row, letter in enumerate(letters)}, merges=[])
    config = transformers.SiglipTextConfig(max_position_embeddings=64)
    tokens = Tokens(tokenizer, Padding(), config).encode(["Golden Retriever", "golden retriever"], torch.device("cpu"))
    first, second = tokens["input_ids"]
    assert torch.equal(first, second)


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / folder.name))
