"""One guard, its decoder, its queue, its log and its counts: what the endpoints share."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time
from typing import Any, Literal, NamedTuple

import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.guard.guard import Guard, Verdict
from secondlook.guard.hooks.content import Finding, bytes_of
from secondlook.guard.policy import Policy
from secondlook.registry import digest
from secondlook.serve.batching import Batcher, Late, Shed
from secondlook.serve.decoding import Decoder, Gone, Processes
from secondlook.serve.drift import Drift
from secondlook.serve.log import ChainedLog

_TIMES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a service takes.

    Attributes:
        body: bytes of a request.
        pixels: of an image.
        seconds: until an answer.
        batch: images that are looked at together.
        room: requests that may wait.
        fail: what happens where no verdict is reached: ``closed`` answers with an error, ``open`` lets the input pass.
    """

    body: int = 10_000_000
    pixels: int = 25_000_000
    seconds: float = 2.0
    batch: int = 16
    room: int = 64
    fail: Literal["closed", "open"] = "closed"

    def __post_init__(self) -> None:
        for name in ("body", "pixels", "seconds", "batch", "room"):
            if not getattr(self, name) > 0:
                raise InvalidInput(f"{name} = {getattr(self, name)} leaves nothing to serve; write a number above 0")


class Trouble(Exception):
    """No verdict was reached.

    Attributes:
        code: of HTTP.
        kind: one word for the counts.
        sentence: what the client is told.
        after: seconds until it is worth another try; 0 for never.
    """

    def __init__(self, code: int, kind: str, sentence: str, after: float = 0.0) -> None:
        super().__init__(sentence)
        self.code, self.kind, self.sentence, self.after = code, kind, sentence, after


class Checked(NamedTuple):
    """A verdict, and how long each part of it took, in milliseconds."""

    verdict: Verdict
    timing: dict[str, float]


class _Ask(NamedTuple):
    pixels: Tensor
    id: str


class _Said(NamedTuple):
    verdict: Verdict
    seconds: float


class Counts:
    """What Prometheus reads; a registry of its own, so that two services count apart."""

    def __init__(self) -> None:
        self.registry = made = CollectorRegistry()
        self.requests = Counter("secondlook_requests", "Requests", ["endpoint", "decision", "code"], registry=made)
        self.duration = Histogram(
            "secondlook_request_duration_seconds", "Until the answer", ["endpoint"], buckets=_TIMES, registry=made
        )
        self.waited = Histogram("secondlook_queue_wait_seconds", "In the queue", buckets=_TIMES, registry=made)
        self.depth = Gauge("secondlook_queue_depth", "Requests that wait", registry=made)
        self.batch = Histogram("secondlook_batch_size", "Images together", buckets=(1, 2, 4, 8, 16, 32), registry=made)
        self.stage = Counter("secondlook_stage", "Looks", ["stage", "outcome"], registry=made)
        self.votes = Histogram(
            "secondlook_votes_drawn", "Views of an input", buckets=(1, 2, 4, 6, 8, 10, 20), registry=made
        )
        self.shed = Counter("secondlook_shed", "Refused at once", ["reason"], registry=made)
        self.open = Counter("secondlook_fail_open", "Let pass without a verdict", registry=made)
        self.lost = Counter("secondlook_decoder_lost", "Decoders killed or dead", ["why"], registry=made)
        self.unlogged = Counter("secondlook_log_errors", "Verdicts that could not be logged", registry=made)
        self.target = Gauge("secondlook_false_alarm_target", "Of clean inputs", registry=made)
        self.drift = Gauge("secondlook_drift", "Capital of the test martingale", ["of"], registry=made)
        self.ready = Gauge("secondlook_ready", "1 where requests are answered", registry=made)
        self.model = Gauge("secondlook_model_info", "1", ["model", "policy"], registry=made)


@dataclass
class Service:
    """A guard that answers requests.

    Attributes:
        guard: what decides.
        limits: what is taken.
        file: that the guard comes from; where it changes, the service is no longer ready.
        log: of the verdicts; None writes none.
        canaries: clean images that are looked at again and again, pixels ``[N, C, H, W]``.
        every: seconds from one look at them to the next.
        decoder: for tests; by default two processes.
    """

    guard: Guard
    limits: Limits = field(default_factory=Limits)
    file: Path | None = None
    log: ChainedLog | None = None
    canaries: Tensor | None = None
    every: float = 3600.0
    decoder: Decoder | None = None

    def __post_init__(self) -> None:
        self.counts = Counts()
        scores = self.guard.policy.calibration.scores
        self.traffic, self.control = Drift(scores), Drift(scores)
        self.name = digest(self.guard.policy.model_dump(mode="json"))
        self.counts.target.set(self.guard.policy.calibration.alpha)
        self.counts.model.labels(self.guard.policy.model, self.name).set(1)
        self._begun_with = self._bytes()
        self._tasks: list[asyncio.Task[None]] = []
        self._why, self._inside = "the service has not begun", 0

    async def begin(self) -> None:
        """Starts the decoder and the queue, and asks every stage once."""
        if self.decoder is None:
            lost = self.counts.lost
            made = Processes(self.guard.guarded.size, self.limits.pixels, lost=lambda why: lost.labels(why).inc())
            await made.begin()
            self.decoder = made
        self.batcher: Batcher[_Ask, _Said] = Batcher(
            self._look, self.limits.batch, room=self.limits.room, observe=self._observe
        )
        self._tasks = [asyncio.create_task(self.batcher.run())]
        await asyncio.to_thread(self._probe)
        if self.canaries is not None:
            self._tasks.append(asyncio.create_task(self._watch(self.canaries)))

    async def end(self) -> None:
        """Stops all of that."""
        for task in self._tasks:
            task.cancel()
        self.batcher.close()
        if self.decoder is not None:
            self.decoder.close()
        if self.log is not None:
            self.log.close()

    @property
    def unready(self) -> str:
        """Why requests are not answered; empty where they are."""
        why = self._why
        if not why and self._bytes() != self._begun_with:
            why = f"{self.file} is not what the service was started with; start it again"
        if not why and self.batcher.depth >= self.limits.room:
            why = "the queue is full"
        self.counts.ready.set(not why)
        return why

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """A place for one request; where there is none, it is refused before its body is read.

        Raises:
            Trouble: as many as the queue and two batches hold are on their way already.
        """
        if self._inside >= self.limits.room + 2 * self.limits.batch:
            self.counts.shed.labels("room").inc()
            raise Trouble(503, "shed", "too many requests wait; try again later", max(self.batcher.wait, 0.1))
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def check(self, content: bytes) -> Checked:
        """The verdict on the bytes of an image.

        Raises:
            Trouble: there is none; the code and the sentence say why.
        """
        begun, wall = monotonic(), time()
        until = begun + self.limits.seconds
        if self._why:
            raise Trouble(503, "unready", self._why, 1.0)
        try:
            assert self.decoder is not None
            pixels = await self.decoder.pixels(content, until)
            decoded = monotonic()
            said = await self.batcher.ask(_Ask(pixels, secrets.token_hex(16)), until)
        except InvalidInput as error:
            raise Trouble(422, "image", str(error)) from None
        except Shed as shed:
            self.counts.shed.labels(shed.reason).inc()
            raise Trouble(503, "shed", "too many requests wait; try again later", max(shed.after, 0.1)) from None
        except Late:
            raise Trouble(504, "late", f"no verdict within {self.limits.seconds:g} s") from None
        except Gone:
            raise Trouble(422, "image", "the image ended the process that decoded it") from None
        total = monotonic() - begun
        timing = {
            "decode": decoded - begun,
            "queue": max(total - (decoded - begun) - said.seconds, 0.0),
            "infer": said.seconds,
            "total": total,
        }
        made = Checked(said.verdict, {key: round(1000 * value, 2) for key, value in timing.items()})
        self._note(content, made, wall)
        return made

    @property
    def policy(self) -> Policy:
        """Of the guard."""
        return self.guard.policy

    async def find(self, text: str, name: str) -> Finding:
        """What became of an image in base64, as the hooks of :mod:`secondlook.guard.hooks` ask it."""
        try:
            return Finding(verdict=(await self.check(bytes_of(text, name))).verdict)
        except InvalidInput as error:
            return Finding(trouble=str(error))
        except Trouble as trouble:
            if trouble.code >= 500:
                raise
            return Finding(trouble=f"{name}: {trouble.sentence}")

    def _look(self, asked: list[_Ask]) -> Sequence[_Said]:
        """The verdicts on a batch; images of several sizes are looked at one size after the other."""
        found: dict[int, Verdict] = {}
        begun = monotonic()
        sizes = {each.pixels.shape for each in asked}
        for size in sizes:
            rows = [row for row, each in enumerate(asked) if each.pixels.shape == size]
            batch = torch.stack([asked[row].pixels for row in rows])
            found |= dict(zip(rows, self.guard.check(batch, [asked[row].id for row in rows]), strict=True))
        took = monotonic() - begun
        return [_Said(found[row], took) for row in range(len(asked))]

    def _note(self, content: bytes, made: Checked, wall: float) -> None:
        """Counts a verdict and logs it.

        Raises:
            Trouble: the log cannot be written, and a verdict without a line would be one that nobody can check.
        """
        verdict = made.verdict
        self.traffic.add(verdict.suspicion)
        self.counts.drift.labels("traffic").set(self.traffic.capital)
        for stage in verdict.looks:
            rejected = verdict.decision == "rejected" and stage == verdict.stage
            self.counts.stage.labels(stage, "rejected" if rejected else "passed").inc()
        if verdict.votes is not None:
            self.counts.votes.observe(verdict.votes.drawn)
        if self.log is None:
            return
        try:
            self.log.append(
                {
                    "time": round(wall, 3),
                    "id": verdict.id,
                    "input": hashlib.sha256(content).hexdigest(),
                    "decision": verdict.decision,
                    "suspicion": verdict.suspicion,
                    "threshold": verdict.threshold,
                    "stage": verdict.stage,
                    "looks": verdict.looks,
                    "policy": self.name,
                    "timing_ms": made.timing,
                }
            )
        except OSError:
            self.counts.unlogged.inc()
            raise Trouble(503, "log", "the verdict could not be logged, and is not given", 5.0) from None

    def _observe(self, count: int, waits: list[float]) -> None:
        self.counts.batch.observe(count)
        self.counts.depth.set(self.batcher.depth)
        for wait in waits:
            self.counts.waited.observe(wait)

    def _probe(self) -> None:
        """Asks every stage about a gray image, so that nothing is loaded by the first client."""
        side = self.guard.guarded.size or (64, 64)
        try:
            self.guard.check(torch.full((1, 3, *side), 0.5), ["probe"])
        # Whatever a model raises is why the service is not ready.
        except Exception as error:
            self._why = f"a stage failed on a gray image ({type(error).__name__}: {error})"
        else:
            self._why = ""

    async def _watch(self, images: Tensor) -> None:
        """Looks at the canaries again and again: where they move, the machine or the weights have."""
        while True:
            for verdict in await self.guard.acheck(images):
                self.control.add(verdict.suspicion)
            self.counts.drift.labels("canaries").set(self.control.capital)
            await asyncio.sleep(self.every)

    def _bytes(self) -> str:
        if self.file is None:
            return ""
        try:
            return hashlib.sha256(self.file.read_bytes()).hexdigest()
        except OSError:
            return "gone"

    def describe(self) -> dict[str, Any]:
        """The policy without its scores, for the page and for whoever asks what decides."""
        plain = self.guard.policy.model_dump(mode="json")
        scores = plain["calibration"].pop("scores")
        step = max(len(scores) // 200, 1)
        return {
            **plain,
            "name": self.name,
            "threshold": self.guard.threshold,
            "stages": [stage.name for stage in self.guard.stages],
            "calibrated_on": len(scores),
            "curve": scores[::step],
            "drift": {"traffic": self.traffic.alarm, "canaries": self.control.alarm, "seen": self.traffic.seen},
            "fail": self.limits.fail,
        }
