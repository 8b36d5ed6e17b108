"""secondlook attacks, hardens, defends and measures multimodal models.

The names below, and every class that is registered, are loaded when they are first used, so that
importing the package is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from secondlook.api.attack import Adversarials as Adversarials, attack as attack
    from secondlook.api.defend import defend as defend
    from secondlook.api.evaluate import evaluate as evaluate
    from secondlook.api.memory import DataInMemory as DataInMemory, ModelInMemory as ModelInMemory
    from secondlook.attacks.apgd import APGD as APGD
    from secondlook.attacks.attackvlm import AdvTransfer as AdvTransfer, AttackVLM as AttackVLM
    from secondlook.attacks.autoattack import AutoAttack as AutoAttack
    from secondlook.attacks.base import Attack as Attack
    from secondlook.attacks.di_fgsm import DIFGSM as DIFGSM
    from secondlook.attacks.fab import FAB as FAB
    from secondlook.attacks.fgsm import FGSM as FGSM
    from secondlook.attacks.hybrid import Hybrid as Hybrid
    from secondlook.attacks.illusion import Illusion as Illusion
    from secondlook.attacks.joint.alternating import Alternating as Alternating
    from secondlook.attacks.joint.co_attack import CoAttack as CoAttack
    from secondlook.attacks.joint.pair_pgd import PairPGD as PairPGD
    from secondlook.attacks.joint.sep_attack import SepAttack as SepAttack
    from secondlook.attacks.joint.sga import SGA as SGA
    from secondlook.attacks.mi_fgsm import MIFGSM as MIFGSM
    from secondlook.attacks.pgd import PGD as PGD
    from secondlook.attacks.rgf import RGF as RGF
    from secondlook.attacks.square import Square as Square
    from secondlook.attacks.synthesis import Synthesis as Synthesis
    from secondlook.attacks.text.bert_attack import BERTAttack as BERTAttack
    from secondlook.attacks.text.hotflip import HotFlip as HotFlip
    from secondlook.attacks.text.noise import EDA as EDA, Typos as Typos
    from secondlook.attacks.ti_fgsm import TIFGSM as TIFGSM
    from secondlook.attacks.vmi_fgsm import VMIFGSM as VMIFGSM
    from secondlook.audit.api import run_study as run_study
    from secondlook.audit.comparison import compare as compare
    from secondlook.data.audiocaps import AudioCaps as AudioCaps
    from secondlook.data.caltech101 import Caltech101 as Caltech101
    from secondlook.data.cifar import Cifar as Cifar, Cifar100 as Cifar100
    from secondlook.data.esc import Esc10 as Esc10, Esc50 as Esc50
    from secondlook.data.flickr8k import Flickr8k as Flickr8k
    from secondlook.data.folder import Folder as Folder
    from secondlook.data.food101 import Food101 as Food101
    from secondlook.data.illusions import Illusions as Illusions
    from secondlook.data.imagenet import ImageNet as ImageNet
    from secondlook.data.karpathy import Karpathy as Karpathy
    from secondlook.data.pairs import Pairs as Pairs
    from secondlook.data.parquet import Parquet as Parquet
    from secondlook.data.pets import Pets as Pets
    from secondlook.data.refcoco import RefCoco as RefCoco
    from secondlook.data.rsicd import Rsicd as Rsicd
    from secondlook.data.sga import Sga as Sga
    from secondlook.data.stl10 import Stl10 as Stl10
    from secondlook.data.table import Csv as Csv, Lines as Lines
    from secondlook.data.waveforms import Waveforms as Waveforms
    from secondlook.decision import Decision as Decision, Outcome as Outcome
    from secondlook.defenses.band_pass import BandPassDefense as BandPassDefense
    from secondlook.defenses.base import Defense as Defense
    from secondlook.defenses.consensus import Consensus as Consensus
    from secondlook.defenses.consistency import (
        Consistent as Consistent,
        MagNet as MagNet,
        PuVae as PuVae,
        Squeezing as Squeezing,
    )
    from secondlook.defenses.guarded import Guarded as Guarded
    from secondlook.defenses.jpeg import Jpeg as Jpeg
    from secondlook.defenses.mirrorcheck import MirrorCheck as MirrorCheck
    from secondlook.defenses.multishield import MultiShield as MultiShield
    from secondlook.defenses.noise import NoiseVote as NoiseVote
    from secondlook.defenses.resampling import Resampling as Resampling
    from secondlook.defenses.sound_codec import SoundCodec as SoundCodec
    from secondlook.defenses.stack import Stack as Stack
    from secondlook.defenses.test_time.anti_adversary import AntiAdversary as AntiAdversary
    from secondlook.defenses.test_time.atac import ATAC as ATAC
    from secondlook.defenses.test_time.atpt import ATPT as ATPT
    from secondlook.defenses.test_time.clipure_cos import ClipureCos as ClipureCos
    from secondlook.defenses.test_time.clipure_diff import ClipureDiff as ClipureDiff
    from secondlook.defenses.test_time.csr import CSR as CSR
    from secondlook.defenses.test_time.dbd import DBD as DBD
    from secondlook.defenses.test_time.et3 import ET3 as ET3
    from secondlook.defenses.test_time.feature_smoothing import FeatureSmoothing as FeatureSmoothing
    from secondlook.defenses.test_time.fpt_noise import FPTNoise as FPTNoise
    from secondlook.defenses.test_time.hedge import Hedge as Hedge
    from secondlook.defenses.test_time.rtpt import RTPT as RTPT
    from secondlook.defenses.test_time.scc import SCC as SCC
    from secondlook.defenses.test_time.tapt import TAPT as TAPT
    from secondlook.defenses.test_time.tpt import TPT as TPT
    from secondlook.defenses.test_time.ttc import TTC as TTC
    from secondlook.defenses.test_time.tte import TTE as TTE
    from secondlook.defenses.test_time.ttp import TTP as TTP
    from secondlook.defenses.undefended import (
        AlwaysAccept as AlwaysAccept,
        AlwaysReject as AlwaysReject,
        Undefended as Undefended,
    )
    from secondlook.errors import (
        InvalidInput as InvalidInput,
        SecondlookError as SecondlookError,
        UnknownName as UnknownName,
    )
    from secondlook.guard.guard import Guard as Guard, Verdict as Verdict
    from secondlook.hardening.clean import Clean as Clean
    from secondlook.hardening.fare import FARE as FARE
    from secondlook.hardening.mat import MAT as MAT
    from secondlook.hardening.matplus import MATPlus as MATPlus
    from secondlook.hardening.tecoa import TeCoA as TeCoA, TeCoARetrieval as TeCoARetrieval
    from secondlook.ledger import counting as counting
    from secondlook.models import load as load
    from secondlook.models.base import (
        Classifier as Classifier,
        Embedder as Embedder,
        Model as Model,
        Purifier as Purifier,
    )
    from secondlook.models.captioner import Captioner as Captioner
    from secondlook.models.families.albef.adapter import Albef as Albef
    from secondlook.models.families.diffusers import Diffusers as Diffusers
    from secondlook.models.families.exported import File as File
    from secondlook.models.families.hf.family import HuggingFace as HuggingFace
    from secondlook.models.families.imagebind.adapter import ImageBind as ImageBind
    from secondlook.models.families.openclip import OpenClip as OpenClip
    from secondlook.models.families.python import Python as Python
    from secondlook.models.families.silero import Silero as Silero
    from secondlook.models.zeroshot import ZeroShot as ZeroShot
    from secondlook.objectives.base import Goal as Goal, GuardedObjective as GuardedObjective
    from secondlook.objectives.targeted import AlignEmbedding as AlignEmbedding, Targeted as Targeted
    from secondlook.objectives.untargeted import Untargeted as Untargeted, UntargetedObjective as UntargetedObjective
    from secondlook.randomness import Keys as Keys
    from secondlook.registry import register as register
    from secondlook.scenes.family import Local as Local, Scenes as Scenes
    from secondlook.scenes.overhead.source import Overhead as Overhead
    from secondlook.scenes.sound_source import SceneSounds as SceneSounds
    from secondlook.scenes.source import ScenesData as ScenesData
    from secondlook.schema import Audit as Audit
    from secondlook.tasks.captioning import CaptioningTask as CaptioningTask
    from secondlook.tasks.classification import ClassificationTask as ClassificationTask, ZeroShotTask as ZeroShotTask
    from secondlook.tasks.grounding import GroundingTask as GroundingTask
    from secondlook.tasks.retrieval import RetrievalTask as RetrievalTask
    from secondlook.tasks.sound import SoundTask as SoundTask
    from secondlook.tasks.unlabeled import UnlabeledTask as UnlabeledTask
    from secondlook.threat import Threat as Threat

_HOMES = {
    "Adversarials": "secondlook.api.attack",
    "AlignEmbedding": "secondlook.objectives.targeted",
    "attack": "secondlook.api.attack",
    "Audit": "secondlook.schema",
    "Attack": "secondlook.attacks.base",
    "Captioner": "secondlook.models.captioner",
    "Classifier": "secondlook.models.base",
    "compare": "secondlook.audit.comparison",
    "counting": "secondlook.ledger",
    "Decision": "secondlook.decision",
    "defend": "secondlook.api.defend",
    "Defense": "secondlook.defenses.base",
    "evaluate": "secondlook.api.evaluate",
    "Guard": "secondlook.guard.guard",
    "Embedder": "secondlook.models.base",
    "Goal": "secondlook.objectives.base",
    "Guarded": "secondlook.defenses.guarded",
    "GuardedObjective": "secondlook.objectives.base",
    "InvalidInput": "secondlook.errors",
    "Keys": "secondlook.randomness",
    "load": "secondlook.models",
    "Model": "secondlook.models.base",
    "Outcome": "secondlook.decision",
    "Purifier": "secondlook.models.base",
    "register": "secondlook.registry",
    "run_study": "secondlook.audit.api",
    "SecondlookError": "secondlook.errors",
    "Targeted": "secondlook.objectives.targeted",
    "Threat": "secondlook.threat",
    "Untargeted": "secondlook.objectives.untargeted",
    "UntargetedObjective": "secondlook.objectives.untargeted",
    "UnknownName": "secondlook.errors",
    "ZeroShot": "secondlook.models.zeroshot",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """A public name from its module, or a registered class; or the version."""
    if name == "__version__":
        return import_module("importlib.metadata").version("secondlook")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    found = _registered() if name[:1].isupper() else {}
    if name not in found:
        raise AttributeError(f"secondlook has no {name!r}; it has {', '.join(sorted(_HOMES))}")
    return found[name]


def __dir__() -> list[str]:
    return sorted({*_HOMES, *_registered()})


def _registered() -> dict[str, type]:
    """Every registered class, by its own name."""
    registry = import_module("secondlook.registry")
    kinds = get_args(registry.Kind)
    every = [registry.find(kind, name) for kind in kinds for name in registry.names(kind)]
    return {cls.__name__: cls for cls in every}
