"""What identifies a model: its weights and buffers, its answers to a fixed probe, and its code."""

from __future__ import annotations

import hashlib
import io
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from secondlook.ledger import uncounted
from secondlook.models.runtime.engine import PLAIN, Engine

Answer = Callable[[Tensor], Tensor]
"""Probe images ``[B, C, H, W]`` in [0, 1] to one of the answers of a model, of any shape."""

TEXTS: Final = ("a photo of a red circle", "two dogs on a beach", "the blue sky above a town")
"""What the probe hands to whatever reads."""
IMAGES: Final = len(TEXTS)
"""Images of the probe, as many as texts, so that they pair."""
_SIDES: Final = (64, 32, 28, 224)
"""Tried in this order where a model names no size."""
_DIRECTIONS: Final = 8
_STEP: Final = 0.03
"""Of a projection, in units of its own spread."""
_COARSE: Final = 1.0
"""The same for weights of 16 bits, which round a thousand times as much."""
_REPEATED: Final = 1e-4


class Identified(Protocol):
    """A model, as far as its identity goes."""

    modules: tuple[nn.Module, ...]
    engine: Engine
    code: str
    channels: int | None

    @property
    def weights_hash(self) -> str: ...

    def probe_answers(self) -> Sequence[Answer]: ...


def weights_hash(modules: Iterable[nn.Module]) -> str:
    """SHA-256 over the state dicts, of which any value is understood; 16 hexadecimal digits."""
    total = hashlib.sha256()
    for module in modules:
        for key, value in module.state_dict().items():
            total.update(key.encode())
            for part in _bytes(value):
                total.update(part)
    return total.hexdigest()[:16]


def identity(model: Identified) -> str:
    """One hash for all that a model's answers depend on; 16 hexadecimal digits.

    It covers the weights, the buffers that no state dict holds, the code of a user's model, and
    what the model answers to a few images and texts, so that constants count too. The answers are
    rounded so coarsely that another device, batch size or number of threads gives the same hash
    but once in about a thousand times; a change of them by 1 % is seen, one by 0.01 % is not. A
    model that cannot answer, or answers otherwise the second time, goes without that part.

    Nothing is counted in the ledger, and the generators of torch are as they were.
    """
    still = [model.weights_hash, model.code, *_unsaved(model.modules)]
    held = vars(model).get("_probed")
    # A copy of a model carries the original's memory along.
    key = (id(model), *still, _plain(model))
    if held is None or held[0] != key:
        held = (key, _probe(model))
        vars(model)["_probed"] = held
    return hashlib.sha256(repr([*still, held[1]]).encode()).hexdigest()[:16]


def source_hash(parts: Iterable[Any]) -> str:
    """SHA-256 over the source files of the user's own among the classes and functions of ``parts``.

    What is installed beside Python or belongs to this package is no code of the user's: then it is
    empty.
    """
    names = {getattr(part, "__module__", None) for part in parts}
    modules = [sys.modules[name] for name in sorted(filter(None, names)) if name in sys.modules]
    texts = [text for module in modules if (text := _own_source(module))]
    return hashlib.sha256(repr(texts).encode()).hexdigest()[:16] if texts else ""


def _own_source(module: ModuleType) -> str | None:
    file = Path(getattr(module, "__file__", None) or "")
    installed = {"site-packages", "dist-packages", Path(math.__file__ or "lib-dynload").parent.name}
    if file.suffix != ".py" or installed & set(file.parts) or file.is_relative_to(_HERE):
        return None
    if module.__name__.partition(".")[0] in sys.stdlib_module_names:
        return None
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


_HERE: Final = Path(__file__).parent.parent


def _bytes(value: Any) -> Iterator[bytes]:
    """A value of a state dict as bytes that are the same on every machine."""
    if isinstance(value, Tensor):
        yield from _tensor_bytes(value.detach())
    elif isinstance(value, io.BytesIO):
        yield value.getvalue()
    elif isinstance(value, Mapping):
        for key in value:
            yield from (part for each in (key, value[key]) for part in _bytes(each))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _bytes(each)
    else:
        text = repr(value)
        # What prints as its place in memory is another one in the next process.
        yield (type(value).__qualname__ if " at 0x" in text else text).encode()


def _tensor_bytes(value: Tensor) -> Iterator[bytes]:
    if value.is_quantized:
        # Scales and zero points are in what the whole numbers stand for.
        yield from _tensor_bytes(value.int_repr())
        yield from _tensor_bytes(value.dequantize())
        return
    plain = value.to_dense() if value.layout != torch.strided else value
    plain = torch.view_as_real(plain.resolve_conj()) if plain.is_complex() else plain
    plain = plain.cpu()
    yield (plain.float() if plain.is_floating_point() else plain).contiguous().numpy().tobytes()


def _unsaved(modules: Iterable[nn.Module]) -> Iterator[str]:
    """Buffers that the state dicts leave out, a hash each."""
    for module in modules:
        saved = module.state_dict().keys()
        for key, value in module.named_buffers():
            if key not in saved:
                total = hashlib.sha256(key.encode())
                for part in _bytes(value):
                    total.update(part)
                yield total.hexdigest()[:16]


def _plain(model: Identified) -> str:
    """The plain attributes of a model and of its networks: what may change from call to call."""
    parts = [model, *(part for module in model.modules for part in module.modules())]
    values = [
        (key, value)
        for part in parts
        for key, value in vars(part).items()
        if isinstance(value, bool | int | float | str | tuple) and key not in ("_probed", "training")
    ]
    return repr([(key, value) for key, value in values if " at 0x" not in repr(value)])


def _probe(model: Identified) -> tuple[tuple[int, ...] | None, ...]:
    """Each of the model's answers in a few whole numbers; None for one that it cannot give."""
    with _unnoticed(model):
        return tuple(_answered(model, answer) for answer in model.probe_answers())


@contextmanager
def _unnoticed(model: Identified) -> Iterator[None]:
    """In eval mode, fp32 and silence; mode, engine, generators and ledgers are put back after."""
    parts = [part for module in model.modules for part in module.modules()]
    modes = [part.training for part in parts]
    engine = model.engine
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    for part in parts:
        part.training = False
    model.engine = PLAIN
    try:
        with (
            uncounted(),
            torch.no_grad(),
            torch.random.fork_rng(devices),
            _full_precision(),
            warnings.catch_warnings(action="ignore"),
        ):
            yield
    finally:
        model.engine = engine
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode


@contextmanager
def _full_precision() -> Iterator[None]:
    """Without the shortened products (TF32) that CUDA's convolutions have by default."""
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    if torch.cuda.is_initialized():
        cudnn.allow_tf32 = False
    try:
        yield
    finally:
        if torch.cuda.is_initialized():
            cudnn.allow_tf32 = before


def _answered(model: Identified, answer: Answer) -> tuple[int, ...] | None:
    size = getattr(model, "size", None)
    sizes = [size] if isinstance(size, tuple) else [(side, side) for side in _SIDES]
    for (height, width), channels in product(sizes, [model.channels] if model.channels else (3, 1)):
        x = images(height, width, channels)
        try:
            first, second = (answer(x.clone()).detach().double().cpu().numpy() for _ in range(2))
        except torch.OutOfMemoryError:
            raise
        # Another size may fit; a model of the user's may meet one that does not with any error.
        except Exception:
            continue
        return _digits(first, _step(model.modules)) if _same(first, second) else None
    return None


def _same(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Whether a model repeats itself, but for rounding."""
    if first.shape != second.shape or not first.size:
        return False
    gap = np.nan_to_num(first - second)
    return bool(np.abs(gap).max() <= _REPEATED * max(np.abs(np.nan_to_num(first)).max(), 1e-30))


def _step(modules: Iterable[nn.Module]) -> float:
    kinds = {weight.dtype for module in modules for weight in module.parameters()}
    return _COARSE if kinds & {torch.float16, torch.bfloat16} else _STEP


def _digits(answer: NDArray[np.float64], step: float) -> tuple[int, ...]:
    """Length and a few projections of an answer, as whole numbers of steps.

    The fewer they are and the coarser, the less often rounding noise carries one across an edge:
    with noise of 1e-6 of the answer's length, about once in two thousand times.
    """
    # Whatever is no number, such as the score of a forbidden token, counts by its place alone.
    finite = np.isfinite(answer)
    flat = np.where(finite, answer, 0.0).ravel()
    marks = int(hashlib.sha256(np.packbits(finite).tobytes()).hexdigest()[:8], 16)
    length = float(np.sqrt(np.square(flat).mean()))
    if length < 1e-30:
        return (*answer.shape, marks)
    flat = flat / length
    sums = [float((_signs(row, flat.size) * flat).sum()) for row in range(_DIRECTIONS)]
    values = [math.log(length), *(total / math.sqrt(flat.size) for total in sums)]
    return (*answer.shape, marks, *(round(value / step) for value in values))


def _signs(row: int, count: int) -> NDArray[np.float64]:
    """Plus and minus ones that are the same on every machine."""
    held = hashlib.shake_128(f"direction {row}".encode()).digest((count + 7) // 8)
    bits = np.unpackbits(np.frombuffer(held, np.uint8), count=count)
    return bits.astype(np.float64) * 2 - 1


def images(height: int, width: int, channels: int) -> Tensor:
    """The images of the probe, ``[3, C, H, W]`` on the 8-bit grid: a ramp, blocks and noise."""
    held = hashlib.shake_128(b"probe").digest(2 * height * width * channels)
    noise = np.frombuffer(held, np.uint8).reshape(2, channels, height, width)
    rows, columns = np.mgrid[:height, :width]
    ramp = np.stack([(rows * (3 + c) + columns * (5 - c)) * 2 % 256 for c in range(channels)])
    blocks = noise[0][:, rows // 8, columns // 8]
    pixels = np.stack([ramp, blocks, noise[1] // 4 + 96])
    return torch.from_numpy(pixels.astype(np.float32)) / 255
