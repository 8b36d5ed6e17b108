"""MirrorCheck: say what is seen, paint what was said, and compare the painting with the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from secondlook.defenses.detector import Detector
from secondlook.defenses.easel import Easel
from secondlook.defenses.eyes import Eyes, many
from secondlook.defenses.suspecting import Suspecting
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, Model
from secondlook.models.painter import Painter
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.registry import register

EYES: Final = "scenes:clip,scenes:clip-vit,scenes:clip-tecoa"
"""Embedders of the embedded world: two architectures, and one that was hardened."""
ZOO: Final = (
    f"{EYES},scenes:eye-narrow,scenes:eye-mixer,scenes:clip-fare,scenes:clip-mat,"
    "scenes:clip-matplus"
)
"""All of them, to ``choose`` from: four architectures, and what each way of hardening makes."""
PAINTER: Final = "scenes:painter-grammar"
"""The painter of the embedded world that paints what it is told to the letter."""
MOST: Final = 2.0
"""One less the least cosine: the suspicion of an input of which nothing was said."""


@dataclass(frozen=True, kw_only=True)
class Mirror(Detector):
    """One less the mean cosine of an input to paintings of its caption (arXiv 2406.09250).

    An input that no caption was written of cannot be mirrored, and is as suspicious as can be.

    Attributes:
        eyes: who compares.
        easel: who paints.
    """

    eyes: Eyes
    easel: Easel
    listens = True

    @property
    def parts(self) -> tuple[Model, ...]:
        """Encoders and painters."""
        return (*self.eyes.encoders, *self.easel.painters)

    @property
    def stochastic(self) -> bool:
        """Whether encoders, their noise or the painter are drawn for each input."""
        return self.eyes.stochastic or self.easel.stochastic

    def painted(self, captions: Sequence[str], keys: Keys) -> Tensor | None:
        """The mirrors of inputs of which something was said; None where one is empty."""
        if not all(caption.strip() for caption in captions):
            return None
        return self.easel.hang(captions, keys).pictures

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """``[B]`` in [0, 2]: 0 where the input is its own mirror.

        Raises:
            InvalidInput: not as many captions as images, or a painter fails.
        """
        if isinstance(captions, str) or len(captions) != len(x):
            raise InvalidInput(
                f"{len(x)} image(s) need as many captions, not {len(captions)}; one for each"
            )
        said = [row for row, caption in enumerate(captions) if caption.strip()]
        if not said:
            return x.new_full((len(x),), MOST)
        rows = torch.tensor(said)
        mirrors = self.easel.hang([captions[row] for row in said], keys[rows])
        seen = x if len(said) == len(x) else x[rows.to(x.device)]
        likeness = self.eyes.likeness(seen, mirrors, keys[rows])
        suspicion = x.new_full((len(x),), MOST)
        return suspicion.index_copy(0, rows.to(x.device), (1 - likeness).to(x))


@register("defence", "mirrorcheck")
@dataclass(frozen=True, kw_only=True)
class MirrorCheck(Suspecting):
    """Paints the answer and rejects where the painting is not like the input (arXiv 2406.09250).

    The classification variant: the caption is the predicted class in a prompt. With several
    painters, with ``choose`` or with ``sigma`` the detector is stochastic, and its draws are those
    of each input; ``legacy`` draws the encoders and their noise once for all inputs.

    Attributes:
        encoders: who compares: embedders by name, with commas between, or objects.
        painters: who paints, in the same way; each input is painted by one of them, drawn.
        paintings: of each caption.
        choose: how many of the encoders, drawn at random, look at an input; 0 is all.
        sigma: deviation of the noise that each parameter of an encoder carries for one look;
            the paper has 5e-6 to 1e-3.
        legacy: see above.
        prompt: makes a caption of a class name; empty takes that of the model if it is zero-shot,
            else that of the first encoder.
        steps: of a painting; 0 takes the painter's own.
        seed: of the painters' draws.
        false_rejection, most, calibrate_on, calibrate_samples: see ``Suspecting``.

    Raises:
        InvalidInput: a setting out of range, too few clean images for ``false_rejection``, or a
            model of another kind.
        UnknownName: there is no such model.
    """

    encoders: Any = EYES
    painters: Any = PAINTER
    paintings: int = 1
    choose: int = 0
    sigma: float = 0.0
    legacy: bool = False
    prompt: str = ""
    steps: int = 0
    seed: int = 0

    def made(self) -> Mirror:
        """The detector."""
        return mirror(
            encoders=self.encoders, painters=self.painters, paintings=self.paintings,
            choose=self.choose, sigma=self.sigma, legacy=self.legacy, steps=self.steps,
            seed=self.seed,
        )  # fmt: skip

    def told(self, answers: Tensor) -> list[str]:
        """The answers in the prompt."""
        return [self.worded.replace("{}", self.model.classes[row]) for row in answers.tolist()]

    @property
    def worded(self) -> str:
        """The prompt in use.

        Raises:
            InvalidInput: it has no place for the class.
        """
        own = self.model.prompt if isinstance(self.model, ZeroShot) else ""
        first: Embedder = self.detector.parts[0]  # type: ignore[assignment]
        prompt = self.prompt or (own if "{}" in own else first.prompt)
        if "{}" not in prompt:
            raise InvalidInput(f"prompt={prompt!r} has no {{}} where the class goes")
        return prompt


def mirror(
    *, encoders: Any = EYES, painters: Any = PAINTER, paintings: int = 1, choose: int = 0,
    sigma: float = 0.0, legacy: bool = False, steps: int = 0, guidance: float = -1.0, seed: int = 0,
) -> Mirror:  # fmt: skip
    """The detector of these settings, for a classifier or a captioner; see :class:`MirrorCheck`.

    Raises:
        InvalidInput, UnknownName: as there.
    """
    looking = many(encoders, Embedder, "encoders", "scenes:clip")
    painting = many(painters, Painter, "painters", "scenes:painter")
    return Mirror(
        eyes=Eyes(encoders=looking, choose=choose, sigma=sigma, legacy=legacy, seed=seed),
        easel=Easel(
            painters=painting, paintings=paintings, seed=seed, steps=steps, guidance=guidance
        ),
    )
