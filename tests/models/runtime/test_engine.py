"""How an encoder is run: precision, compilation and checkpoints change speed, and not answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secondlook.attacks.pgd import PGD
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput, UnknownName
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.models.logits import LogitClassifier
from secondlook.models.runtime import engine
from secondlook.models.runtime.engine import Engine, EngineSettings, bucket, check_half, checkpointed, exactly
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.base import GuardedObjective
from secondlook.objectives.targeted import AlignEmbedding
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.models import hub_models

HALF = Engine(EngineSettings(dtype="bf16"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return hub_models.save(tmp_path_factory.mktemp("hub"), "clip")


def noise(count: int) -> Tensor:
    return Keys.of(0, range(count)).uniform((3, 32, 32))


class Watching(Embedder):
    """A line, which notes the type that its network answers in, and the sizes that it sees."""

    name = "watching"

    def __init__(self) -> None:
        self.network = nn.Linear(12, 5, bias=False).requires_grad_(False)
        grid = torch.arange(60.0).view(5, 12)
        self.network.weight.data.copy_((grid * 37 % 11 - 5) / 7)
        self.modules, self.answered, self.sizes = (self.network,), [], []

    answered: list[torch.dtype]
    sizes: list[int]

    def encode_image(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x.flatten(1))
        self.answered.append(out.dtype)
        self.sizes.append(len(x))
        return out

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return torch.eye(5)[: len(texts)]


def small(count: int) -> Tensor:
    return Keys.of(0, range(count)).uniform((3, 2, 2))


def test_the_encoder_alone_is_in_half_precision() -> None:
    model = Watching()
    model.engine = HALF
    x = small(4).requires_grad_()
    judge = ZeroShot(model, ("a", "b", "c"))
    features = judge.features(x)
    assert model.answered == [torch.bfloat16]
    assert features.dtype == judge.scores(features).dtype == torch.float32
    assert torch.allclose(features.norm(dim=1), torch.ones(4), atol=1e-5)
    (gradient,) = torch.autograd.grad(features[:, 0].sum(), x)
    assert gradient.dtype == torch.float32 and bool((gradient != 0).all())


def test_an_attack_climbs_in_half_precision_and_a_decision_is_exact() -> None:
    model = Watching()
    model.engine = Engine(EngineSettings(dtype="bf16"))
    judge, x = ZeroShot(model, ("a", "b", "c")), small(3)
    keys, classes = Keys.of(0, range(3)), torch.tensor([2, 2, 2])
    victim = Guarded(judge)
    aim = GuardedObjective(goal=AlignEmbedding(vectors=judge.class_features(classes), classes=classes), victim=victim)
    PGD(steps=2)(aim, x, Threat(), keys)
    assert set(model.answered) == {torch.bfloat16}
    model.answered.clear()
    decided = victim.decide(x, keys)
    assert model.answered == [torch.float32] and not model.engine.exact
    model.engine = engine.PLAIN
    assert torch.equal(decided.scores, victim.decide(x, keys).scores)


def test_exactness_ends_with_its_block() -> None:
    model = Watching()
    model.engine = Engine(EngineSettings(dtype="bf16"))
    with pytest.raises(KeyError), exactly([model, ZeroShot(model, ("a", "b"))]):
        assert model.engine.exact
        raise KeyError
    assert not model.engine.exact


def test_a_name_says_how(clip: Path) -> None:
    plain = load(f"hf:{clip}")
    half = load(f"hf:{clip}?dtype=bf16")
    assert half.name == f"hf:{clip}?dtype=bf16" and half.hash == plain.hash
    assert half.engine.settings == EngineSettings(dtype="bf16") and plain.engine is engine.PLAIN
    both = load(f"hf:{clip}?resolution=native&checkpoint=true&dtype=bf16")
    assert both.name == f"hf:{clip}?resolution=native&dtype=bf16&checkpoint=true"
    assert load("scenes:vae?dtype=bf16").engine.settings.dtype == "bf16"
    x = noise(3)
    near = (half.embed(x) * plain.embed(x)).sum(1)
    assert float(near.min()) > 0.999 and not torch.equal(half.embed(x), plain.embed(x))
    with exactly([half]):
        assert torch.equal(half.embed(x), plain.embed(x))


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        ("dtype=fp16", "dtype='fp16': Input should be 'fp32' or 'bf16'"),
        ("compile=perhaps", "compile='perhaps': Input should be a valid boolean"),
        ("dtyp=bf16", "did you mean dtype"),
        ("resolutoin=native", "did you mean resolution"),
    ],
)
def test_settings_are_checked(clip: Path, tail: str, said: str) -> None:
    with pytest.raises((InvalidInput, UnknownName), match=said):
        load(f"hf:{clip}?{tail}")


def test_what_is_not_run_so_is_refused() -> None:
    with pytest.raises(InvalidInput, match="scenes:classifier takes no dtype=bf16; embedders"):
        load("scenes:classifier?dtype=bf16")
    with pytest.raises(InvalidInput, match="scenes:vae is a purifier, which is not compiled"):
        load("scenes:vae?compile=true")


def test_a_network_without_blocks_is_not_checkpointed() -> None:
    with pytest.raises(InvalidInput, match="line is no row of like blocks; leave checkpoint=true"):
        checkpointed((nn.Linear(2, 2),), "line")


def test_checkpoints_change_no_bit_and_hold_less(clip: Path) -> None:
    plain, saving = load(f"hf:{clip}"), load(f"hf:{clip}?checkpoint=true")
    answers, held = [], []
    for model in (plain, saving):
        x, kept = noise(4).requires_grad_(), 0

        def note(saved: Tensor) -> Tensor:
            nonlocal kept
            kept += saved.nbytes
            return saved

        with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
            vectors = model.embed(x)
        (gradient,) = torch.autograd.grad(vectors[:, 0].sum(), x)
        answers.append((vectors.detach(), gradient))
        held.append(kept)
    for first, second in zip(*answers, strict=True):
        assert torch.equal(first, second)
    assert held[1] < 0.6 * held[0]


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []

    def compiled(function: Callable[..., Any], **how: Any) -> Callable[..., Any]:
        made.append((function, how))
        return function

    monkeypatch.setattr(torch, "compile", compiled)
    return made


def test_a_compiled_encoder_sees_few_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    made, model, plain = recorded(monkeypatch), Watching(), Watching()
    model.engine = Engine(EngineSettings(compile=True))
    for size in (1, 7, 8, 9, 16, 17, 31):
        x = small(size).requires_grad_()
        vectors = model.embed(x)
        assert torch.allclose(vectors, plain.embed(x), atol=1e-6)
        (gradient,) = torch.autograd.grad(vectors[:, 0].sum(), x)
        (wanted,) = torch.autograd.grad(plain.embed(x)[:, 0].sum(), x)
        assert torch.allclose(gradient, wanted, atol=1e-6)
    assert sorted(set(model.sizes)) == [8, 16, 32]
    assert [how for _, how in made] == [{"dynamic": False}]
    assert [bucket(size) for size in (0, 1, 8, 9, 64, 65)] == [8, 8, 8, 16, 64, 128]


@pytest.mark.slow
def test_a_compiled_encoder_answers_as_the_plain_one(clip: Path) -> None:
    compiled, plain = load(f"hf:{clip}?compile=true"), load(f"hf:{clip}")
    for size in (5, 3):
        x = noise(size).requires_grad_()
        found, wanted = compiled.embed(x), plain.embed(x)
        assert torch.allclose(found, wanted, atol=1e-5)
        gradients = [torch.autograd.grad(v[:, 0].sum(), x)[0] for v in (found, wanted)]
        assert torch.allclose(*gradients, atol=1e-5)


def test_what_cannot_be_compiled_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def compiled(function: object, **how: object) -> Callable[..., Any]:
        def run(x: Tensor) -> Tensor:
            raise TorchDynamoException("no C++ compiler found\nand more")

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    model = Watching()
    model.engine = Engine(EngineSettings(compile=True))
    with pytest.raises(InvalidInput, match="compiled: no C.. compiler found; leave compile=true"):
        model.embed(small(2))


def test_a_classifier_of_logits_is_run_so_too() -> None:
    network = nn.Linear(12, 3)
    network.weight.data.copy_((torch.arange(36.0).view(3, 12) * 7 % 5 - 2) / 3)
    judge = LogitClassifier("line", lambda x: network(x.flatten(1)), ("a", "b", "c"), modules=(network,))
    network.requires_grad_(False)
    plain = judge(small(4))
    judge.engine = HALF
    assert judge(small(4)).dtype == torch.float32
    assert 0 < float((judge(small(4)) - plain).abs().max()) < 0.05
    with exactly([judge]):
        assert torch.equal(judge(small(4)), plain)


def test_devices_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert engine.device("auto") == engine.device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:1"):
        with pytest.raises(InvalidInput, match="sees 0 CUDA devices here; write auto or cpu"):
            engine.device(name)
    for name in ("gpu", "mps", ""):
        with pytest.raises(InvalidInput, match=f"device='{name}' is.*write auto, cpu, cuda"):
            engine.device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert engine.device("auto") == engine.device("cuda") == torch.device("cuda")
    with pytest.raises(InvalidInput, match="sees 1 CUDA devices"):
        engine.device("cuda:1")


def test_a_device_without_half_precision_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: False)
    check_half(torch.device("cpu"))
    for name in ("cuda", "mps"):
        with pytest.raises(InvalidInput, match=f"{name} does not compute in bf16; write dtype"):
            check_half(torch.device(name))
