"""Images of strangers are decoded in processes that can be killed, and looked at from their header first."""

from __future__ import annotations

import asyncio
import io
import multiprocessing as mp
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from secondlook.data.decoding import FORMATS, Size, decode, strictly
from secondlook.errors import InvalidInput
from secondlook.serve.batching import Late

_MEGA = 1_000_000


class Gone(Exception):
    """The process that decoded an image has died of it."""


class Decoder(Protocol):
    """Bytes of a file to pixels ``[3, H, W]``."""

    async def pixels(self, content: bytes, until: float) -> Tensor:
        """The pixels, by ``until`` on the monotonic clock.

        Raises:
            InvalidInput: the bytes are no image, or one that is not taken.
            Late: it took too long.
            Gone: the process died.
        """

    def close(self) -> None:
        """Ends what it has begun."""


def read_pixels(content: bytes, size: Size | None, most: int) -> Tensor:
    """The pixels of one image, after its header has been looked at.

    Args:
        content: the bytes of the file.
        size: that the model takes.
        most: pixels that an image may have.

    Raises:
        InvalidInput: it has more, or several frames, or is no image.
    """
    try:
        with strictly(), Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            wide, high, frames = picture.width, picture.height, int(getattr(picture, "n_frames", 1))
    except Image.DecompressionBombError:
        raise InvalidInput(
            f"the image has more pixels than anything that is taken, {most / _MEGA:g} megapixels"
        ) from None
    # Decoders meet broken bytes with almost any error.
    except Exception as error:
        raise InvalidInput(f"the body is no image that is read here ({type(error).__name__})") from None
    if wide * high > most:
        raise InvalidInput(f"the image is {wide} x {high} pixels; at most {most / _MEGA:g} megapixels are taken")
    if frames > 1:
        raise InvalidInput(f"the image has {frames} frames; send one of them")
    return decode(io.BytesIO(content), "the body", size)


@dataclass
class Processes:
    """Some processes that decode, each killed and begun again where it is late or dead.

    Attributes:
        size: that the model takes.
        most: pixels of an image at most.
        count: of the processes.
        lost: told whenever one has been killed or has died.
    """

    size: Size | None
    most: int
    count: int = 2
    lost: Any = lambda why: None
    _free: asyncio.Queue[_Process] = field(init=False)

    def __post_init__(self) -> None:
        self._free = asyncio.Queue()
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="secondlook-decode")
        self._every = [_Process(self.size, self.most) for _ in range(self.count)]
        for each in self._every:
            self._free.put_nowait(each)

    async def begin(self) -> None:
        """Begins all of them, so that no request has to wait for that."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._threads, each.begin) for each in self._every))

    async def pixels(self, content: bytes, until: float) -> Tensor:
        """As :class:`Decoder` says."""
        try:
            process = await asyncio.wait_for(self._free.get(), max(until - monotonic(), 0))
        except TimeoutError:
            raise Late from None
        try:
            loop = asyncio.get_running_loop()
            return await asyncio.shield(loop.run_in_executor(self._threads, process.pixels, content, until))
        except (Late, Gone) as error:
            self.lost(type(error).__name__.lower())
            raise
        finally:
            self._free.put_nowait(process)

    def close(self) -> None:
        """Kills all of them."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for each in self._every:
            each.kill()


class _Process:
    """One process; begun when it is first needed, and again after a death."""

    def __init__(self, size: Size | None, most: int) -> None:
        self.size, self.most = size, most
        self.pipe: Connection | None = None
        self.child: BaseProcess | None = None

    def pixels(self, content: bytes, until: float) -> Tensor:
        try:
            pipe = self.begin()
            pipe.send_bytes(content)
            if not pipe.poll(max(until - monotonic(), 0)):
                self.kill()
                raise Late
            said = pipe.recv()
        except (EOFError, OSError):
            self.kill()
            raise Gone from None
        if isinstance(said, str):
            raise InvalidInput(said)
        return torch.from_numpy(said)

    def begin(self) -> Connection:
        """Begins the process, if there is none, and waits until it is ready."""
        if self.pipe is not None and self.child is not None and self.child.is_alive():
            return self.pipe
        self.kill()
        made = mp.get_context("spawn")
        self.pipe, other = made.Pipe()
        self.child = made.Process(target=_serve, args=(other, self.size, self.most), daemon=True)
        self.child.start()
        other.close()
        self.pipe.recv()
        return self.pipe

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.join(1)
        if self.pipe is not None:
            with suppress(OSError):
                self.pipe.close()
        self.pipe = self.child = None


def _serve(pipe: Connection, size: Size | None, most: int) -> None:
    """What a process does: an image after the other, pixels or a sentence back."""
    torch.set_num_threads(1)
    pipe.send("ready")
    while True:
        try:
            content = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            answer: Any = np.ascontiguousarray(read_pixels(content, size, most).numpy())
        except InvalidInput as error:
            answer = str(error)
        pipe.send(answer)
