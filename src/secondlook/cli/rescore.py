"""``secondlook rescore``: a stored adversarial set, our own or imported, against any model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secondlook.cli.audit import Device, Samples
from secondlook.progress import progress

Stored = Annotated[str, typer.Argument(help="RUN/adversarial/ID, sga:ADVERSARIAL.json@FOLDER, illusions:FOLDER#300.")]
Model = Annotated[str, typer.Option(help="Any embedder; of illusions: any classifier, too.")]
Data = Annotated[str, typer.Option(help="The clean data that the set was made of.")]
Form = Annotated[str, typer.Option(help="Captions as they are written, or in the form of sga.")]
AttackResult = Annotated[str, typer.Option(help="query, gallery or both.")]
Eps = Annotated[str, typer.Option(help="Hold an imported set to this radius: 2/255.")]
Words = Annotated[int, typer.Option(help="Hold it to so many words a caption; -1 measures.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the result here, too.")]


def rescore(
    stored: Stored,
    model: Model = "scenes:clip",
    data: Data = "scenes:test",
    samples: Samples = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the samples and targets.")] = 0,
    form: Form = "written",
    attacked: AttackResult = "both",
    eps: Eps = "",
    norm: Annotated[str, typer.Option(help="linf, l2 or l1.")] = "linf",
    words: Words = -1,
    device: Device = "auto",
    json: Json = None,
) -> None:
    """Score adversarial images that are there against any model; imported ones are measured."""
    from secondlook import registry
    from secondlook.audit.report.text import render_rescored
    from secondlook.audit.rescore import replayed, rescored, scored_again
    from secondlook.drafts import write_atomic
    from secondlook.errors import InvalidInput
    from secondlook.models import load
    from secondlook.models.base import Embedder
    from secondlook.models.runtime import engine
    from secondlook.terminal import Terminal
    from secondlook.threat import Threat

    bound, place = Threat.parse(norm, eps or "8/255"), engine.device(device)
    threat = bound if eps else None
    settings = {"data": data, "samples": samples or 0, "seed": seed, "form": form, "attacked": [attacked]}
    task = registry.build("task", "retrieval", settings)
    with progress("rescore", lines=True) as tick:
        tick(0, 1, f"loading {model}")
        made = load(model)
        made.to(place)
        tick(0, 1, stored)
        if stored.startswith("illusions:"):
            kind, found = "zeroshot", replayed(stored, made, threat=threat)
        elif _sample_by_sample(stored):
            kind, found = scored_again(Path(stored), made, place)
        elif isinstance(made, Embedder):
            kind, found = "retrieval", rescored(stored, made, task, task.attacked[0], threat=threat, words=words)
        else:
            raise InvalidInput(f"{model} embeds no texts, and a search needs both; try scenes:clip")
    render_rescored(found, made.name, kind, Terminal(highlight=False))
    if json is not None:
        write_atomic(json, found.written().encode())


def _sample_by_sample(stored: str) -> bool:
    """Whether it is a set of a run whose task is no retrieval.

    Raises:
        InvalidInput: that run's study runs code of its writer's choice.
    """
    from secondlook.audit.store import read_head
    from secondlook.cli.audit import running
    from secondlook.errors import InvalidInput

    run = Path(stored).parent.parent
    study = read_head(run).get("study", {}) if (run / "run.json").exists() else {}
    task = study.get("task", {})
    if not study or (isinstance(task, dict) and task.get("name") == "retrieval"):
        return False
    if code := running({"plugins": study.get("plugins"), "task": task}):
        raise InvalidInput(f"the study of {stored} runs code, {code}; its set is not scored again")
    return True
