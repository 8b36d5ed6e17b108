"""A guard as a service under an open load: latency from the moment that a request was meant to be sent.

``python -m benchmarks.bench_serve`` serves ``scenes:clip`` bare and behind a cheap policy, measures what each can take,
and then sends Poisson arrivals at 0.5, 0.9, 1 and 2 times that, clean, with one in ten noisy, and noisy alone, from a
process of its own, which shares the processors with the service. A run in which it slips is void, and says so.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
import numpy as np
import torch
import uvicorn
from PIL import Image
from torch import Tensor

from secondlook.data import load
from secondlook.defenses.base import Defense, Detector, DetectorDefense
from secondlook.guard.guard import Guard
from secondlook.models.base import Model
from secondlook.randomness import Keys
from secondlook.serve.app import make_app
from secondlook.serve.service import Limits, Service

_SLIP = 0.05
"""Seconds by which the median request may be late at the sender."""
PORT, DEADLINE = 8917, 1.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """What came of one run: milliseconds of those that were answered and of those that were refused."""

    rate: float
    sent: int
    answered: list[float]
    refused: list[float]
    lost: int
    slip: float

    def line(self, name: str) -> str:
        """The run in a line."""
        told = f"{name:34} {self.rate:6.1f}/s  n {self.sent:5}  answered {len(self.answered):5}"
        if self.answered:
            p50, p99 = np.percentile(self.answered, [50, 99])
            told += f"  p50 {p50:6.1f}  p99 {p99:6.1f} ms"
        if self.refused:
            told += f"  refused {len(self.refused)} (p99 {np.percentile(self.refused, 99):.1f} ms)"
        late = "  VOID: the sender slipped" if self.slip > _SLIP else ""
        return f"{told}  lost {self.lost}{late}"


def png(x: Tensor) -> bytes:
    """An image as a file."""
    made = io.BytesIO()
    Image.fromarray((255 * x).round().byte().permute(1, 2, 0).numpy()).save(made, "PNG")
    return made.getvalue()


async def send(client: httpx.AsyncClient, rate: float, seconds: float, bodies: list[bytes], seed: int) -> Load:
    """Poisson arrivals, drawn beforehand; nobody waits for an answer before the next is sent."""
    rng, at, moments = random.Random(seed), 0.0, []
    while at < seconds:
        at += rng.expovariate(rate)
        moments.append(at)
    answered: list[float] = []
    refused: list[float] = []
    slips: list[float] = []
    begun, lost = time.monotonic(), 0

    async def one(moment: float) -> None:
        nonlocal lost
        await asyncio.sleep(max(begun + moment - time.monotonic(), 0))
        slips.append(time.monotonic() - begun - moment)
        try:
            got = await client.post("/v1/check", content=rng.choice(bodies))
        except httpx.HTTPError:
            lost += 1
            return
        took = 1000 * (time.monotonic() - begun - moment)
        (answered if got.status_code == 200 else refused).append(took)

    await asyncio.gather(*(one(moment) for moment in moments))
    slip = float(np.median(slips))
    return Load(rate=rate, sent=len(moments), answered=answered, refused=refused, lost=lost, slip=slip)


async def capacity(client: httpx.AsyncClient, bodies: list[bytes], seconds: float) -> float:
    """Answers a second to 16 who ask one after the other."""
    count, until = 0, time.monotonic() + seconds

    async def ask() -> None:
        nonlocal count
        while time.monotonic() < until:
            got = await client.post("/v1/check", content=random.choice(bodies))
            count += got.status_code == 200

    await asyncio.gather(*(ask() for _ in range(16)))
    return count / seconds


async def measured(name: str, bodies: dict[str, list[bytes]], seconds: float, shares: list[float]) -> None:
    """All runs of one service."""
    limits = httpx.Limits(max_connections=400, max_keepalive_connections=400)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", timeout=30, limits=limits) as client:
        await send(client, 10, 2, bodies["clean"], 0)
        most = await capacity(client, bodies["clean"], seconds / 2)
        print(f"{name}: {most:.0f} answers a second at most")
        for share in shares:
            for mix, some in bodies.items():
                print(
                    (await send(client, share * most, seconds, some, 1)).line(f"{name}, {share:g} x, {mix}"), flush=True
                )


@dataclass(frozen=True, kw_only=True)
class NoLook(DetectorDefense):
    """Suspects nobody: the bare model behind the same service."""

    registered_name = "no-look"

    def detector(self, model: Model) -> Detector:
        """One that costs nothing."""
        return _Nothing()


class _Nothing(Detector):
    @property
    def parts(self) -> tuple[Model, ...]:
        return ()

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        return torch.zeros(len(x))


POLICIES: dict[str, NoLook | list[str | Defense]] = {"bare": NoLook(), "cheap": ["squeezing", "magnet"]}


def serve(name: str) -> None:
    """The service of a policy, in this process, for ever."""
    guard = Guard("scenes:clip", POLICIES[name], calibrate_samples=400)
    app = make_app(Service(guard, Limits(seconds=DEADLINE)))
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="error")


def begun(name: str) -> subprocess.Popen[bytes]:
    """The service of a policy in a process of its own, ready."""
    command = [sys.executable, "-m", "benchmarks.bench_serve", "--serve", name]
    made = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    for _ in range(600):
        try:
            if httpx.get(f"http://127.0.0.1:{PORT}/readyz").status_code == 200:
                return made
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise SystemExit("the service did not become ready")


def main() -> None:
    """Measures, and prints a line a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--share", type=float, action="append", help="of the capacity; repeatable")
    parser.add_argument("--mix", choices=["clean", "one in ten noisy", "all noisy"], action="append")
    parser.add_argument("--policy", choices=[*POLICIES], action="append")
    parser.add_argument("--serve", choices=[*POLICIES], help="serve a policy and measure nothing")
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    clean = [png(x) for x in load("scenes:test").read(range(32), None).images]
    noisy = [png(torch.rand(3, 64, 64)) for _ in range(4)]
    bodies = {"clean": clean, "one in ten noisy": clean[:27] + noisy[:3], "all noisy": noisy}
    bodies = {name: some for name, some in bodies.items() if name in (given.mix or bodies)}
    for name in given.policy or POLICIES:
        process = begun(name)
        try:
            asyncio.run(measured(name, bodies, given.seconds, given.share or [0.5, 0.9, 1.0, 2.0]))
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
