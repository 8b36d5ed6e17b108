"""``secondlook attack`` and ``secondlook purify``: a folder of images in, PNG files out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from secondlook.cli.audit import Device
from secondlook.progress import progress

Folder = Annotated[Path, typer.Argument(help="A folder of images, or of a sub-folder for each class.")]
Out = Annotated[Path, typer.Option(help="Where the PNG files go.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="A setting, steps=100; repeatable.")]
Seed = Annotated[int, typer.Option(min=0, help="Of all draws.")]
Labels = Annotated[list[str] | None, typer.Option("--other", help="What else it might be.")]


def attack(
    folder: Folder,
    target: Annotated[str | None, typer.Option(help="What the model shall see.")] = None,
    goal: Annotated[str, typer.Option(help="targeted; or untargeted: any other answer.")] = "targeted",
    out: Out = Path("adversarial"),
    model: Annotated[str, typer.Option(help="The model to fool.")] = "scenes:clip",
    attack_: Annotated[str, typer.Option("--attack", help="See `attacks`.")] = "illusion",
    eps: Annotated[str, typer.Option(help="Radius in pixel units.")] = "8/255",
    norm: Annotated[str, typer.Option(help="linf, l2 or l1.")] = "linf",
    other: Labels = None,
    seed: Seed = 0,
    set_: Set = None,
    device: Device = "auto",
) -> None:
    """Make images that a model takes for something else; writes PNGs and provenance.json."""
    from secondlook import registry
    from secondlook.apply import attack_folder
    from secondlook.cli.audit import assignment
    from secondlook.models import load
    from secondlook.models.runtime import engine
    from secondlook.terminal import Terminal
    from secondlook.threat import Threat

    _check_goal(goal, target)
    console = Terminal(highlight=False, markup=False, emoji=False)
    threat, place = Threat.parse(norm, eps), engine.device(device)
    optimizer = registry.build("attack", attack_, dict(assignment(text) for text in set_ or []))
    with progress("attack", lines=True) as tick:
        written = attack_folder(
            folder,
            out,
            model=load(model),
            attack=optimizer,
            threat=threat,
            target=target,
            others=other or (),
            seed=seed,
            tick=tick,
            device=place,
            notify=_notify,
        )
    for each in written:
        mark = ("already" if each.already else "success") if each.success else "failure"
        console.print(f"{each.file}  {each.before:+.3f} → {each.after:+.3f}  {mark}")
    console.print(f"{len(written)} images in {out}, each within {threat} of its source", soft_wrap=True)


def _notify(text: str) -> None:
    from secondlook.terminal import Terminal

    Terminal(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True).print(text)


def _check_goal(goal: str, target: str | None) -> None:
    from secondlook.errors import InvalidInput

    if goal not in ("targeted", "untargeted"):
        raise InvalidInput(f"--goal {goal!r} is unknown; write targeted or untargeted")
    if goal == "targeted" and target is None:
        raise InvalidInput("what shall the model see? write --target cat, or --goal untargeted for any wrong answer")
    if goal == "untargeted" and target is not None:
        raise InvalidInput(f"--goal untargeted takes any other answer, and --target {target!r} one; leave one out")


def purify(
    folder: Folder,
    out: Out = Path("purified"),
    purifier: Annotated[str, typer.Option(help="scenes:vae, diffusers:PATH …")] = "scenes:vae",
    noise: Annotated[float, typer.Option(help="Its strength; negative keeps its own.")] = -1.0,
    samples: Annotated[int, typer.Option(help="Reconstructions of each image.")] = 1,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Just purify these images: each is reconstructed, at its own size."""
    from secondlook.apply import purify_folder
    from secondlook.errors import InvalidInput
    from secondlook.models import load
    from secondlook.models.base import Purifier
    from secondlook.models.runtime import engine
    from secondlook.terminal import Terminal

    place = engine.device(device)
    if not math.isfinite(noise):
        raise InvalidInput(f"--noise {noise:g} is no strength; write a finite number, negative for the purifier's own")
    made = load(purifier)
    if not isinstance(made, Purifier):
        raise InvalidInput(f"--purifier {purifier} is no purifier; try scenes:vae")
    with progress("purify", lines=True) as tick:
        tuned = made if noise < 0 else made.with_noise(noise)
        written = purify_folder(
            folder, out, purifier=tuned, samples=samples, seed=seed, tick=tick, device=place, notify=_notify
        )
    Terminal(highlight=False, markup=False, emoji=False).print(f"{len(written)} images in {out}", soft_wrap=True)
