"""The attacks on a captioner that a detector has to face, from transfer to the adaptive one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from secondlook.attacks.attackvlm import AdvTransfer, AttackVLM
from secondlook.attacks.pgd import PGD
from secondlook.defenses.mirrorcheck import Mirror
from secondlook.defenses.watched import Watched
from secondlook.goals.caption import Say, Unsay
from secondlook.goals.echo import Echo, Relay, Resemble, refuse_the_victim
from secondlook.goals.reflected import Reflected
from secondlook.goals.unsuspected import Unsuspected, worst
from secondlook.models.base import Embedder, resized
from secondlook.models.painter import Painter
from secondlook.scenes.captioner import SceneCaptioner
from secondlook.tasks.captioning import CaptionBatch
from secondlook.threat import Threat

WAYS: Final = ("painted", "reflected", "any", "any, reflected")
"""The painting of the target, fixed or following the image; or of whatever is said, likewise."""
UNSAID: Final = 2.5
"""A loss at which the captioner speaks of something else: clean scenes have 0.3, fooled ones 2.6
and more."""


class OwnEye(Embedder):
    """The victim's own eyes as a surrogate, as AttackVLM's LAVIS scripts have it: no black box."""

    def __init__(self, captioner: SceneCaptioner) -> None:
        self.captioner, self.size = captioner, captioner.size
        self.name, self.modules = f"{captioner.name}'s own eyes", captioner.modules

    def encode_image(self, x: Tensor) -> Tensor:
        return self.captioner.network.look(resized(x, *self.size)).flatten(1)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        raise NotImplementedError("the captioner's eyes read no texts")


@dataclass(frozen=True, kw_only=True)
class Attacker:
    """Who crafts, and with what."""

    captioner: SceneCaptioner
    surrogate: Embedder
    painter: Painter
    threat: Threat
    steps: int
    queries: int
    white: int

    def makers(self) -> dict[str, Callable[[CaptionBatch], Tensor]]:
        """Adversarial images of a batch, by the name of the attack."""
        return {
            "MF-it": lambda batch: self._transferred(batch, self._texts(batch), self.surrogate),
            "MF-ii": lambda batch: self._transferred(
                batch, self._pictures(batch, self.surrogate), self.surrogate
            ),
            "MF-ii, own eyes": self._through_own_eyes,
            "MF-ii + MF-tt": self._queried,
            "white box": lambda batch: self._said(batch),
        }

    def adaptive(
        self, batch: CaptionBatch, guard: Watched, weight: float, draws: int, way: str = "painted"
    ) -> Tensor:
        """The white box that knows the detector, at one weight of the hinge, in one of ``WAYS``."""
        free, follows = way.startswith("any"), way.endswith("reflected")
        fixed = guard if free else guard.detector
        goal = Unsuspected(
            wish=self._unwish(batch) if free else self._wish(batch),
            watcher=self._reflected(guard) if follows else fixed,
            captions=() if free else tuple(self.captioner.worded(batch.targets)),
            threshold=guard.threshold, weight=weight, margin=0.02, draws=draws,
            after=UNSAID if free else float("-inf"), watching=guard.modules,
        )  # fmt: skip
        return self._climb(goal, batch)

    def _reflected(self, guard: Watched) -> Reflected:
        detector = guard.detector
        assert isinstance(detector, Mirror)
        eyes, easel = detector.eyes, detector.easel
        return Reflected(
            captioner=self.captioner, painter=easel.painters[0], encoders=eyes.encoders,
            steps=easel.steps, guidance=easel.guidance, paintings=easel.paintings, seed=easel.seed,
            said=guard.said,
        )  # fmt: skip

    def _wish(self, batch: CaptionBatch) -> Say:
        return Say(captioner=self.captioner, texts=tuple((text,) for text in batch.targets))

    def _unwish(self, batch: CaptionBatch) -> Unsay:
        return Unsay(captioner=self.captioner, texts=batch.captions)

    def _said(self, batch: CaptionBatch) -> Tensor:
        return self._climb(self._wish(batch), batch)

    def _climb(self, goal: Say | Unsuspected, batch: CaptionBatch) -> Tensor:
        attack = PGD(steps=self.white, keep_best=False, momentum=0.75)
        return attack(goal, batch.images, self.threat, batch.keys.fold("white")).x

    def _texts(self, batch: CaptionBatch) -> Tensor:
        return self.surrogate.embed_text(batch.targets)

    @torch.no_grad()
    def _pictures(self, batch: CaptionBatch, eye: Embedder) -> Tensor:
        return eye.embed(self.painter.paint(batch.targets, batch.keys.fold("attacker's own")))

    def _transferred(self, batch: CaptionBatch, vectors: Tensor, eye: Embedder) -> Tensor:
        goal = Resemble(embedder=eye, vectors=vectors)
        if not isinstance(eye, OwnEye):
            refuse_the_victim(eye, self.captioner)
        return AdvTransfer(steps=self.steps)(goal, batch.images, self.threat, batch.keys).x

    def _through_own_eyes(self, batch: CaptionBatch) -> Tensor:
        eye = OwnEye(self.captioner)
        return self._transferred(batch, self._pictures(batch, eye), eye)

    def _queried(self, batch: CaptionBatch) -> Tensor:
        surrogate = Resemble(
            embedder=self.surrogate, vectors=self._pictures(batch, self.surrogate)
        )  # fmt: skip
        victim = Echo(captioner=self.captioner, reader=self.surrogate, texts=batch.targets)
        relay = Relay(surrogate=surrogate, victim=victim)
        attack = AttackVLM(transfer_steps=self.steps, queries=self.queries)
        return attack(relay, batch.images, self.threat, batch.keys).x


def hardest(
    images: Sequence[Tensor], fooled: Sequence[Tensor], suspicion: Sequence[Tensor]
) -> Tensor:
    """Of several attacks on each image the one that fooled, and was least suspicious."""
    chosen = worst(fooled, [-each for each in suspicion])
    return torch.stack([images[which][row] for row, which in enumerate(chosen.tolist())])
