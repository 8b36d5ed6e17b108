"""MirrorCheck: caption the input, paint the caption, and compare the painting with the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from secondlook.bounds import Count, Natural
from secondlook.defenses.base import Detector, DetectorDefense, Regeneration, models_of
from secondlook.defenses.regeneration import EncoderEnsemble, ImageCache
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, Model
from secondlook.models.painter import Painter
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.registry import register

ENCODERS: Final = "scenes:clip,scenes:clip-vit,scenes:clip-tecoa"
"""Embedders of the embedded world: two architectures, and one that was hardened."""
ZOO: Final = f"{ENCODERS},scenes:clip-narrow,scenes:clip-mixer,scenes:clip-fare,scenes:clip-mat,scenes:clip-matplus"
"""All of them, to ``choose`` from: four architectures, and what each way of hardening makes."""
PAINTER: Final = "scenes:painter"
"""A trained painter of the embedded world. ``scenes:painter-grammar`` paints what a caption says to the
letter, with the very renderer that made the data, which no detector of photographs has."""
MOST: Final = 2.0
"""One less the least cosine: the suspicion of an input of which nothing was said."""


@dataclass(frozen=True, kw_only=True)
class RegenerationDetector(Detector):
    """One less the mean cosine of an input to paintings of its caption (arXiv 2406.09250).

    An input that no caption was written of has no paintings, and is as suspicious as can be.

    Attributes:
        ensemble: the encoders that compare.
        cache: paints, and keeps what was painted.
        prompt: makes a caption of a class.
    """

    ensemble: EncoderEnsemble
    cache: ImageCache
    prompt: str = "{}"
    reads_captions = True
    reads_answers = True

    @property
    def parts(self) -> tuple[Model, ...]:
        """Encoders and painters."""
        return (*self.ensemble.encoders, *self.cache.painters)

    @property
    def stochastic(self) -> bool:
        """Whether encoders, their noise or the painter are drawn for each input."""
        return self.ensemble.stochastic or self.cache.stochastic

    def forget(self) -> None:
        """Paints anew what it has painted before."""
        self.cache.forget()

    def caption_of(self, name: str) -> str:
        """The class in the prompt."""
        return self.prompt.replace("{}", name)

    @property
    def regeneration(self) -> Regeneration:
        """Its painters, encoders and their settings."""
        cache = self.cache
        return Regeneration(
            painters=cache.painters,
            encoders=self.ensemble.encoders,
            paintings=cache.paintings,
            guidance=cache.guidance,
            seed=cache.seed,
        )

    def regenerated(self, captions: Sequence[str], keys: Keys) -> Tensor | None:
        """The paintings of captions, ``[B, P, 3, h, w]``; None where one is empty."""
        if not all(caption.strip() for caption in captions):
            return None
        return self.cache.regenerate(captions, keys).pictures

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """``[B]`` in [0, 2]: 0 where the input is its own painting.

        Raises:
            InvalidInput: not as many captions as images, or a painter fails.
        """
        if isinstance(captions, str) or len(captions) != len(x):
            raise InvalidInput(f"{len(x)} image(s) need as many captions, not {len(captions)}; one for each")
        said = [row for row, caption in enumerate(captions) if caption.strip()]
        if not said:
            return x.new_full((len(x),), MOST)
        rows = torch.tensor(said)
        images = self.cache.regenerate([captions[row] for row in said], keys[rows])
        inputs = x if len(said) == len(x) else x[rows.to(x.device)]
        similarity = self.ensemble.similarity(inputs, images, keys[rows])
        suspicion = x.new_full((len(x),), MOST)
        return suspicion.index_copy(0, rows.to(x.device), (1 - similarity).to(x))


@register("defense", "mirrorcheck")
@dataclass(frozen=True, kw_only=True)
class MirrorCheck(DetectorDefense):
    """Paints the answer and rejects where the painting is not like the input (arXiv 2406.09250).

    The classification variant: the caption is the predicted class in a prompt. With several
    painters, with ``choose`` or with ``sigma`` the detector is stochastic, and its draws are those
    of each input; ``legacy`` draws the encoders and their noise once for all inputs.

    Attributes:
        encoders: who compares: embedders by name, with commas between, or objects.
        painters: who paints, in the same way; each input is painted by one of them, drawn.
        paintings: of each caption.
        choose: how many of the encoders, drawn at random, compare an input; 0 is all.
        sigma: deviation of the noise that each parameter of an encoder carries for one comparison;
            the paper has 5e-6 to 1e-3.
        legacy: see above.
        prompt: makes a caption of a class name; empty takes that of the model if it is zero-shot,
            else that of the first encoder.
        steps: of a painting; 0 takes the painter's own.
        seed: of the painters' draws.
        false_rejection, threshold, calibrate_on, calibrate_samples: see ``DetectorDefense``.

    Raises:
        InvalidInput: a setting out of range, too few clean images for ``false_rejection``, or a
            model of another kind.
        UnknownName: there is no such model.
    """

    encoders: Any = ENCODERS
    painters: Any = PAINTER
    paintings: Count = 1
    choose: Natural = 0
    sigma: float = 0.0
    legacy: bool = False
    prompt: str = ""
    steps: Natural = 0
    seed: Natural = 0

    def detector(self, model: Model) -> RegenerationDetector:
        """Encoders and painters, and the prompt that fits ``model``.

        Raises:
            InvalidInput: the model neither captions nor classifies, and says nothing that could be painted.
        """
        if isinstance(model, Embedder):
            raise InvalidInput(
                f"MirrorCheck paints what a model says, and {model.name} says nothing; take magnet or squeezing, "
                "or name the classes that make a zero-shot classifier of it"
            )
        found = regeneration_detector(
            encoders=self.encoders,
            painters=self.painters,
            paintings=self.paintings,
            choose=self.choose,
            sigma=self.sigma,
            legacy=self.legacy,
            steps=self.steps,
            seed=self.seed,
        )
        own = model.prompt if isinstance(model, ZeroShot) else ""
        first = found.ensemble.encoders[0].prompt
        prompt = self.prompt or (own if "{}" in own else first)
        if "{}" not in prompt:
            raise InvalidInput(f"prompt={prompt!r} has no {{}} where the class goes")
        return replace(found, prompt=prompt)


def regeneration_detector(
    *,
    encoders: Any = ENCODERS,
    painters: Any = PAINTER,
    paintings: int = 1,
    choose: int = 0,
    sigma: float = 0.0,
    legacy: bool = False,
    steps: Natural = 0,
    guidance: float = -1.0,
    seed: int = 0,
) -> RegenerationDetector:
    """The detector of these settings; see :class:`MirrorCheck`.

    Raises:
        InvalidInput, UnknownName: as there.
    """
    comparing = models_of(encoders, Embedder, "encoders", "scenes:clip")
    painting = models_of(painters, Painter, "painters", "scenes:painter")
    return RegenerationDetector(
        ensemble=EncoderEnsemble(encoders=comparing, choose=choose, sigma=sigma, legacy=legacy, seed=seed),
        cache=ImageCache(painters=painting, paintings=paintings, seed=seed, steps=steps, guidance=guidance),
    )
