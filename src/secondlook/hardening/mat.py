"""MAT: contrastive training on pairs of which both sides are attacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from secondlook.attacks.joint.base import JointAttack, image_vectors
from secondlook.attacks.pairs import AlteredPairs, Pairs
from secondlook.attacks.text.base import TextThreat
from secondlook.bounds import Count
from secondlook.errors import InvalidInput
from secondlook.hardening.base import AdversarialMethod, BatchLoss, StepContext
from secondlook.hardening.dataset import Batch, CaptionChoice, Dataset
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import LEVELS, Threat

Order = Literal["t-i", "i-t", "simultaneous", "alternating"]


@dataclass(frozen=True, kw_only=True)
class InnerAttack(JointAttack):
    """Words by BERT-Attack and a short PGD away from the cosine (arXiv 2405.18770, section 3).

    Attributes:
        order: ``t-i`` takes captions from their clean images, then images from those captions;
            ``i-t`` the other way round; ``simultaneous`` each from the clean other;
            ``alternating`` goes on from ``t-i``: captions from the images that it made, images
            from those captions, for as many rounds.
        rounds: of ``alternating``; one is ``t-i``.
    """

    order: Order = "t-i"
    rounds: int = 2
    steps: int = 2

    @property
    def image_steps(self) -> int:
        """As many as are set, whatever words may do: a training cannot afford more."""
        return self.steps

    def search(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        """Searches either side in this order, once or in rounds."""
        if self.order == "alternating":
            return self._alternate(victims, pairs, threat, keys)
        side, clean = self.texts(victims, pairs), pairs.images
        vectors = side.vectors
        if self.order != "i-t":
            captions = side.away_from(image_vectors(victims, clean))
            vectors = side.read(captions) if self.order == "t-i" else vectors
        found = self.from_captions(victims, vectors, side.owner, clean, threat, keys)
        if self.order == "i-t":
            captions = side.away_from(image_vectors(victims, found.x))
        return AlteredPairs(found.x, captions, found.trace, side.notices)

    def _alternate(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        """Words given the image, then the image given the words, each from where it was left."""
        side, warm = self.texts(victims, pairs), None
        for turn in range(self.rounds):
            captions = side.away_from(image_vectors(victims, pairs.images if warm is None else warm))
            own = keys.fold("turn", turn) if turn else keys
            vectors = side.read(captions)
            found = self.from_captions(victims, vectors, side.owner, pairs.images, threat, own, warm=warm)
            warm = found.x
        return AlteredPairs(found.x, captions, found.trace, side.notices)


@register("method", "mat")
@dataclass(frozen=True, kw_only=True)
class MAT(AdversarialMethod):
    """Multimodal adversarial training of both towers on images and captions (arXiv 2405.18770).

    Attributes:
        order: which side is attacked first: ``t-i``, ``i-t``, ``simultaneous``, or both in turn,
            ``alternating``.
        rounds: turns of ``alternating``.
        words: words of a caption that may be replaced.
        text: by which others: ``free``, ``mlm`` or ``meaning-preserving``, as the attacks have it.
        shortlist: of ``free``, how many changes of a caption are read.
        candidates: what the masked language model offers for each.
        mlm: that model, or its name.
        captions: ``first`` pairs each image with one caption for good, as published; ``any`` with
            one of all its own in each step, ``others`` with one of all but the first.

    Raises:
        InvalidInput: as ``AdversarialMethod``, or ``friendly``, which pairs do not have.
    """

    part = "all"
    need = "captions"

    order: Order = "t-i"
    rounds: Count = 2
    words: Count = 1
    text: TextThreat = "mlm"
    shortlist: Count = 8
    candidates: Count = 10
    mlm: Any = "scenes:mlm"
    captions: CaptionChoice = "first"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.friendly:
            raise InvalidInput("friendly=true: attacks on pairs have no success to stop at; leave it out")
        self.inner_attack  # noqa: B018 - it says what is wrong with its settings

    @property
    def inner_attack(self) -> InnerAttack:
        """The attack inside."""
        pace = self.attack_step * self.attack_steps / self.eps if self.attack_step else 2.5
        return InnerAttack(
            order=self.order,
            rounds=self.rounds,
            words=self.words,
            text=self.text,
            shortlist=self.shortlist,
            candidates=self.candidates,
            mlm=self.mlm,
            steps=self.attack_steps,
            pace=pace,
            momentum=self.momentum,
        )

    def make_loss(self, trainable: TrainableEmbedder, dataset: Dataset) -> BatchLoss:
        """InfoNCE between what the attack made of the images and of one caption of each."""
        attack = self.inner_attack

        def loss(batch: Batch, context: StepContext) -> Tensor:
            texts = self.draw_captions(batch, context)
            pairs = Pairs(self.draw_images(batch, context), tuple((text,) for text in texts), batch.preserves)
            threat = Threat(eps=self.eps * self.radius_share(context.progress), grid=LEVELS)
            with trainable.autocast():
                found = attack(trainable.embedder, pairs, threat, context.keys.fold("inner"))
            embedded = trainable.embed_texts([text for (text,) in found.captions])
            return trainable.contrast(trainable.embed_images(found.images), embedded)

        return loss

    def draw_captions(self, batch: Batch, context: StepContext) -> list[str]:
        """A caption of each image; to be overridden by augmentation."""
        return batch.pick_captions(context.keys, self.captions)

    def draw_images(self, batch: Batch, context: StepContext) -> Tensor:
        """The images; to be overridden by augmentation."""
        return batch.images
