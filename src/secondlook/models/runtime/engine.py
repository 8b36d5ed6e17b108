"""How a model's encoder is run: precision, compilation, device, and gradient checkpointing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Final, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from secondlook.errors import InvalidInput

Encode = Callable[[Tensor], Tensor]
SMALLEST: Final = 8
"""The least of the batch sizes that a compiled encoder is made for; the others double it."""


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """The settings that may follow the name of any embedder, classifier of logits or purifier.

    Attributes:
        dtype: ``bf16`` runs the encoder under autocast while an attack climbs. Vectors, logits and
            losses stay in fp32, and whatever is decided is decided in fp32 throughout.
        compile: hands the encoder to ``torch.compile``, with batches padded to 8, 16, 32 and so on,
            since an attack's batch shrinks; for embedders and classifiers of logits.
        checkpoint: holds the input of each block of the network alone, and runs the blocks again
            for the gradient: less memory for about a third more time.
    """

    dtype: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    checkpoint: bool = False

    def __str__(self) -> str:
        """What is not as always, as a name spells it: ``dtype=bf16&compile=true``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = {f.name: values[f.name] for f in fields(self) if values[f.name] != f.default}
        return "&".join(f"{key}={str(value).lower()}" for key, value in changed.items())


class Engine:
    """Runs one model's encoder.

    Attributes:
        settings: how.
        exact: whether it runs in fp32 for now; see :func:`exactly`.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.settings, self.exact = settings, False
        self._compiled: dict[Any, Encode] = {}

    def __call__(self, encode: Encode, x: Tensor, who: str = "the encoder") -> Tensor:
        """``encode`` of a batch, in fp32 or, where it answers so, fp64.

        Args:
            encode: a network, or what calls one.
            x: the batch.
            who: is asked, for messages.

        Raises:
            InvalidInput: the encoder cannot be compiled, or the device has no bf16; or what it
                answers is no tensor with a row for each input.
        """
        run = partial(self._padded, encode) if self.settings.compile else encode
        if self.exact or self.settings.dtype == "fp32":
            out = run(x)
            _check_answer(out, len(x), who)
            return out.to(torch.promote_types(out.dtype, torch.float32))
        check_half(x.device)
        # Its backward computes in whatever the forward did, and needs no autocast of its own.
        with torch.autocast(x.device.type, torch.bfloat16):
            out = run(x)
        _check_answer(out, len(x), who)
        return out.float()

    def _padded(self, encode: Encode, x: Tensor) -> Tensor:
        missing = bucket(len(x)) - len(x)
        # Copies of the last image: unlike black ones they cannot make a kernel meet 0 / 0.
        filled = torch.cat([x, x[-1:].detach().expand(missing, *x.shape[1:])]) if missing else x
        key = getattr(encode, "__func__", encode)
        if key not in self._compiled:
            self._compiled[key] = torch.compile(encode, dynamic=False)
        try:
            return self._compiled[key](filled)[: len(x)]
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            reason = str(error).strip().splitlines()[0]
            raise InvalidInput(f"the encoder cannot be compiled: {reason}; leave compile=true out") from error


def _check_answer(out: object, count: int, who: str) -> None:
    if not isinstance(out, Tensor) or not out.dim() or len(out) != count or out.is_complex():
        found = f"a {out.dtype} tensor of shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        raise InvalidInput(f"{who} answered {found} to {count} inputs; return a tensor of real numbers, a row for each")


PLAIN: Final = Engine(EngineSettings())
"""In fp32, as it is written."""


class Run(Protocol):
    """A model, as far as its engine goes."""

    @property
    def engine(self) -> Engine: ...


@contextmanager
def exactly(models: Iterable[Run]) -> Iterator[None]:
    """In fp32 inside the block, whatever the models' own precision is."""
    before = [(model.engine, model.engine.exact) for model in models]
    for engine, _ in before:
        engine.exact = True
    try:
        yield
    finally:
        for engine, exact in before:
            engine.exact = exact


def bucket(size: int) -> int:
    """The batch size that ``size`` samples are padded to.

    Example:
        >>> [bucket(size) for size in (1, 8, 9, 33)]
        [8, 8, 16, 64]
    """
    return max(SMALLEST, 1 << (size - 1).bit_length()) if size else SMALLEST


def check_half(place: torch.device) -> None:
    """Refuses bf16 where a device computes it in no way that is of use.

    Raises:
        InvalidInput: the device is an older one of CUDA, or neither CUDA nor a CPU.
    """
    if place.type == "cpu" or (place.type == "cuda" and torch.cuda.is_bf16_supported(False)):
        return
    raise InvalidInput(f"dtype='bf16': {place} does not compute in bf16; write dtype=fp32")


def device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is CUDA where there is one, else the CPU.

    Raises:
        InvalidInput: torch knows no such device, or does not see it here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(name)
    except RuntimeError:
        raise InvalidInput(f"device={name!r} is none; write auto, cpu, cuda or cuda:1") from None
    if place.type not in ("cpu", "cuda"):
        raise InvalidInput(f"device={name!r} is not known here; write auto, cpu, cuda or cuda:1")
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if place.type == "cuda" and (place.index or 0) >= seen:
        raise InvalidInput(
            f"device={name!r}: torch {torch.__version__} sees {seen} CUDA devices here; write "
            "auto or cpu, or install the build of torch that fits the driver"
        )
    return place


def checkpointed(modules: Iterable[nn.Module], name: str) -> None:
    """Makes each block of the networks hold its input alone, and run again for the gradient.

    The libraries' own switches act in training mode alone, or differ from one to the next. The
    answers are the same to the last bit, since an encoder in eval mode draws nothing.

    Raises:
        InvalidInput: the networks have no blocks; ``name`` is what the model is called.
    """
    blocks = [block for module in modules for block in like_blocks(module)]
    if not blocks:
        raise InvalidInput(f"{name} is no row of like blocks; leave checkpoint=true out")
    for block in blocks:
        block.forward = partial(_again, block.forward)


def _again(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


def like_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost rows of two or more modules of one class."""
    for part in module.children():
        row = list(part.children()) if isinstance(part, nn.ModuleList | nn.Sequential) else []
        if len(row) > 1 and len({type(block) for block in row}) == 1:
            yield from row
        else:
            yield from like_blocks(part)
