"""What was said of an image, held against what is true of it and against what an attacker wants."""

from __future__ import annotations

from dataclasses import dataclass

from secondlook.scenes.truth import Truth


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was said of one image.

    Attributes:
        id: the image.
        text: the caption.
        target: what the attacker wants to be said.
        cider: CIDEr-D against the image's true captions.
        target_cider: CIDEr-D against the attacker's.
        verbatim: whether it is the attacker's, word for word.
        truth: the caption held against the scene; None where captions are all that is known.
        right: whether it is about the image: it names colour and shape of the main thing, or, of
            photographs, is nearer to the true captions than to the attacker's (CIDEr-D).
        said: whether it is about what the attacker's caption is about: it names colour and shape
            of that scene's main thing, or, of photographs, is the attacker's verbatim.
    """

    id: str
    text: str
    target: str
    cider: float
    target_cider: float
    verbatim: bool
    truth: Truth | None
    right: bool
    said: bool
