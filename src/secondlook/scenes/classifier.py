"""The embedded world's classifiers behind the words that every classifier has."""

from __future__ import annotations

from torch import Tensor

from secondlook.models.base import Classifier, resized
from secondlook.scenes.captions import class_names
from secondlook.scenes.networks.classifier import ClassifierNetwork
from secondlook.scenes.world import SIDE


class SceneClassifier(Classifier):
    """Colour and shape of the main thing; images of another size are resized to 64×64 inside."""

    size = (SIDE, SIDE)

    def __init__(self, name: str, network: ClassifierNetwork) -> None:
        self.name, self.network, self.modules = name, network, (network,)
        self.classes = class_names()

    def features(self, x: Tensor) -> Tensor:
        return self.network.features(resized(self.see(x), *self.size)).float()

    def scores(self, features: Tensor) -> Tensor:
        out: Tensor = self.network.head(features)
        return out
