"""Illusions in a log-mel and what is left of them in a waveform: ``python -m experiments.mel_illusions``.

Papers that perturb a spectrogram hand the network a tensor that need not be the spectrogram of any
sound. Here the log-mel of ``scenes:bind`` is attacked within so many decibels per bin, then imposed
on the sound by a gain for each band and frame, written as 16-bit PCM, read and scored again. A row
without that second look says *unrealizable*.
"""

from __future__ import annotations

import argparse
import math
from typing import NamedTuple

import torch
from torch import Tensor

from secondlook import data
from secondlook.models import load
from secondlook.models.zeroshot import ZeroShot
from secondlook.scenes.captions import PROMPT, class_names
from secondlook.scenes.models.sound import DEVIATION, MEAN, SPECTROGRAM, SoundEmbedder, imposed
from secondlook.signals import SOUND, decibels, distribution

MOMENTUM = 0.75


class Row(NamedTuple):
    """What one budget gives.

    Attributes:
        level: dB per bin.
        unrealizable: share of the targets reached in the log-mel.
        inverted: share of them after inversion and 16-bit PCM.
        ratios: signal-to-noise ratios of what was inverted, as they are printed.
    """

    level: float
    unrealizable: float
    inverted: float
    ratios: str


def measure(level: float, samples: int, steps: int) -> Row:
    """Attacks the log-mels of the first ``samples`` test sounds within ``level`` dB per bin."""
    model = load("scenes:bind")
    assert isinstance(model, SoundEmbedder)
    found = data.load("scene-sounds:test").read(range(samples), None)
    waves, target = SOUND.natural(found.images), (found.truth + 7) % len(class_names())
    texts = ZeroShot(model, class_names(), PROMPT).texts
    clean = SPECTROGRAM.log_mel(waves)
    mel = climbed(model, clean, texts[target], level * math.log(10) / 10, steps)
    with torch.no_grad():
        straight = model.network(((mel - MEAN) / DEVIATION)[:, None]) @ texts.T
        carried = SOUND.read(SOUND.stored(SOUND.carried(imposed(waves, mel).clamp(-1, 1))), torch.float32)
        heard = model.embed(carried) @ texts.T
    reached, kept = (float((scores.argmax(1) == target).float().mean()) for scores in (straight, heard))
    return Row(level, reached, kept, distribution(decibels(waves, SOUND.natural(carried)).tolist()))


def climbed(model: SoundEmbedder, clean: Tensor, wanted: Tensor, reach: float, steps: int) -> Tensor:
    """Log-mels ``[B, 64, 64]`` within ``reach`` of the clean ones, nearer to the vectors that are wanted."""
    mel, momentum = clean.clone(), torch.zeros_like(clean)
    for _ in range(steps):
        at = mel.detach().requires_grad_()
        cosine = (model.network(((at - MEAN) / DEVIATION)[:, None]) * wanted).sum()
        (slope,) = torch.autograd.grad(cosine, at)
        momentum = MOMENTUM * momentum + slope / slope.abs().mean((1, 2), keepdim=True).clamp_min(1e-12)
        mel = clean + (mel + 2.5 * reach / steps * momentum.sign() - clean).clamp(-reach, reach)
    return mel


def main() -> None:
    """Prints a row for each budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--levels", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0], help="dB per bin")
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--steps", type=int, default=50)
    given = parser.parse_args()
    for level in given.levels:
        row = measure(level, given.samples, given.steps)
        print(
            f"±{row.level:g} dB: {100 * row.unrealizable:.0f} % in the log-mel (unrealizable), "
            f"{100 * row.inverted:.0f} % inverted, {row.ratios}",
            flush=True,
        )


if __name__ == "__main__":
    main()
