"""``secondlook doctor``: what goes wrong with a model of one's own, before it is audited."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secondlook.cli.audit import Device
from secondlook.progress import progress

Model = Annotated[str, typer.Argument(help="Any model by name: hf:FOLDER, python:MODULE:FACTORY …")]
Data = Annotated[str, typer.Option(help="Labelled images for the clean accuracy: folder:PHOTOS.")]
Samples = Annotated[int, typer.Option(min=1, help="How many of them.")]
Size = Annotated[int, typer.Option(min=1, max=8192, help="Side of the images, where the model names none.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the result here, too.")]


def doctor(
    model: Model, data: Data = "", samples: Samples = 32, size: Size = 224, device: Device = "auto", json: Json = None
) -> None:
    """Look for what goes wrong with a model: each check, and the fix. Status 1 if one fails."""
    from secondlook.doctor.examine import examine, render
    from secondlook.doctor.model import prepare
    from secondlook.drafts import write_atomic
    from secondlook.models import load
    from secondlook.models.runtime import engine
    from secondlook.places import at_home
    from secondlook.terminal import Terminal

    place = engine.device(device)
    with progress("doctor", lines=True) as tick:
        tick(0, 1, f"loading {model}")
        made = load(model)
        made.to(place)
        subject = prepare(made, data=data, side=size, samples=samples)
        found = examine(subject, tick)
    render(found, Terminal(highlight=False))
    if json is not None:
        write_atomic(json, at_home(f"{found.model_dump_json(indent=2, by_alias=True)}\n").encode())
    if found.failed:
        raise typer.Exit(1)
