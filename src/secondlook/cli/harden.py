"""``secondlook harden``: train an embedder against attacks on it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from secondlook.cli.audit import Device
from secondlook.progress import progress

Method = Annotated[str, typer.Option(help="tecoa, tecoa-itr, fare, mat, mat+, or clean.")]
Model = Annotated[str, typer.Option(help="The embedder: scenes:clip, hf:FOLDER …")]
Out = Annotated[Path, typer.Option(help="Where weights, card and checkpoint go.")]
Data = Annotated[str, typer.Option(help="Images to learn from; empty takes scenes.")]
Test = Annotated[str, typer.Option(help="Images to measure on, where --data is given.")]
Steps = Annotated[int, typer.Option(help="Optimizer steps.")]
Batch = Annotated[int, typer.Option(help="Samples in a step.")]
Lr = Annotated[float, typer.Option(help="Peak learning rate; 0: 1e-3 for scenes:, else 1e-5.")]
Eps = Annotated[str, typer.Option(help="Radius in pixel units, 4/255; empty: the method's own.")]
Average = Annotated[float, typer.Option(help="Decay of the weights' moving average; 0: none.")]
Bf16 = Annotated[bool, typer.Option("--bf16", help="Encoders in bf16; losses stay in fp32.")]
Workers = Annotated[int, typer.Option(min=1, max=256, help="Processes that render scenes.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="A setting of the method, a=1.")]


def harden(
    method: Method = "tecoa",
    model: Model = "scenes:clip",
    out: Out = Path("hardened"),
    data: Data = "",
    test: Test = "",
    steps: Steps = 2000,
    batch: Batch = 64,
    lr: Lr = 0.0,
    eps: Eps = "",
    average: Average = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of all draws.")] = 0,
    device: Device = "auto",
    bf16: Bf16 = False,
    workers: Workers = 1,
    set_: Set = None,
) -> None:
    """Train an embedder against attacks on it. Continues a killed training."""
    from secondlook import registry
    from secondlook.cli.audit import assignment
    from secondlook.hardening.harden import HardeningConfig, harden as hardened
    from secondlook.hardening.trainer import TrainingConfig
    from secondlook.models.runtime import engine
    from secondlook.places import at_home
    from secondlook.terminal import Terminal

    settings = dict(assignment(text) for text in set_ or [])
    if eps:
        settings["eps"] = eps
    rate = lr or (1e-3 if model.startswith("scenes:") else 1e-5)
    plan = HardeningConfig(
        model=at_home(model),
        method=registry.build("method", method, settings),
        training=TrainingConfig(steps=steps, batch=batch, rate=rate, average=average, seed=seed),
        data=at_home(data),
        test=at_home(test),
        bf16=bf16,
        workers=workers,
        device=str(engine.device(device)),
        command=at_home(shlex.join(["secondlook", *sys.argv[1:]])),
    )
    with progress(f"{method} {model}", lines=True) as tick:
        card = hardened(plan, out, tick)
    if not card:
        return
    console = Terminal(highlight=False, markup=False, emoji=False)
    for key, value in card["measured"].items():
        console.print(f"{key}  {value:.4f}")
    trust = "?trust=true" if model.startswith("python:") or "trust=" in model else ""
    console.print(f"local:{out / card['name']}{trust}  on {card['measured_on']}", soft_wrap=True)
