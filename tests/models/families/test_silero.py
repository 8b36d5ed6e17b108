"""The detector of voices: windows with what came before, one by one as its authors run it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

import secondlook as sl
from secondlook.data.sounds import read_wave, write_wave
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.families import silero
from secondlook.models.families.silero import SileroNetwork, SileroVad
from secondlook.signals import SOUND, decibels

WAVE = 0.1 * torch.randn(2, 1800, generator=torch.Generator().manual_seed(0))


def weights(folder: Path) -> Path:
    """A file under the names of the published one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        held = SileroNetwork().state_dict()
    names = {name: name.replace("memory.", "lstm_cell.").replace("_l0", "") for name in held}
    save_file({names[name]: value for name, value in held.items()}, folder / "vad.safetensors")
    return folder / "vad.safetensors"


def one_by_one(network: SileroNetwork, wave: Tensor) -> Tensor:
    """The loop of the package: 512 samples at a time with the 64 before them, and a state."""
    padded, state, out = F.pad(wave, (64, -wave.shape[1] % 512)), None, []
    for at in range(64, padded.shape[1], 512):
        x = F.pad(padded[:, at - 64 : at + 512], (0, 64), mode="reflect")[:, None]
        x = network.stft_conv(x)
        x = (x[:, :129] ** 2 + x[:, 129:] ** 2).sqrt()
        for layer in (network.conv1, network.conv2, network.conv3, network.conv4):
            x = layer(x).relu()
        seen, state = network.memory(x.transpose(1, 2), state)
        out.append(network.final_conv(seen.relu().transpose(1, 2))[:, 0])
    return torch.cat(out, 1)


def test_all_windows_at_once_are_all_windows_one_by_one(tmp_path: Path) -> None:
    model = load(f"silero:{weights(tmp_path)}")
    assert isinstance(model, SileroVad)
    with torch.no_grad():
        assert torch.allclose(model.network(WAVE), one_by_one(model.network, WAVE), atol=1e-5)
        scores = model(SOUND.carried(WAVE))
    assert torch.allclose(scores[:, 1], model.network(WAVE).amax(1), atol=1e-5) and not scores[:, 0].any()


def test_a_sound_is_made_to_speak_and_what_its_file_holds_speaks(tmp_path: Path) -> None:
    model = load(f"silero:{weights(tmp_path)}")
    assert isinstance(model, SileroVad)
    with torch.no_grad():  # nobody speaks, by a little
        model.network.final_conv.bias -= float(model.network(WAVE).max()) + 1e-5
    found = sl.attack(model, WAVE, [0, 0], "pgd", target=1, snr=15, steps=20, progress=False)
    assert bool(found.success.all())
    for row in range(2):
        write_wave(tmp_path / "a.wav", found.x[row], 16_000)
        held = read_wave(tmp_path / "a.wav").samples[None]
        assert float(decibels(WAVE[row : row + 1], held)[0]) > 14.9
        assert int(model(SOUND.carried(held)).argmax(1)[0]) == 1


def test_silence_has_a_gradient_that_is_a_number(tmp_path: Path) -> None:
    model = load(f"silero:{weights(tmp_path)}")
    assert isinstance(model, SileroVad)
    wave = torch.zeros(1, 1024, requires_grad=True)
    model.network(wave).sum().backward()
    assert wave.grad is not None and bool(wave.grad.isfinite().all())


def test_what_does_not_fit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(f"silero:{weights(tmp_path)}")
    with pytest.raises(InvalidInput, match="at least 512"):
        model(SOUND.carried(WAVE[:, :400]))  # type: ignore[operator]
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("other.safetensors", "missing.safetensors"):
        with pytest.raises(InvalidInput, match="no weights of silero-vad"):
            load(f"silero:{tmp_path / name}")
    monkeypatch.setattr(silero.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match="pip install --no-deps silero-vad"):
        load("silero:vad")


@pytest.mark.skipif(importlib.util.find_spec("silero_vad") is None, reason="silero-vad is not installed")
def test_the_published_weights_are_read() -> None:
    assert isinstance(load("silero:vad"), SileroVad)
