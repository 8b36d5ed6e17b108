"""From a study to its opened task, whatever room the task belongs to."""

from __future__ import annotations

from typing import Any

import torch

from secondlook import registry
from secondlook.audit.study import Study
from secondlook.models.python import imported


def opened(study: Study, device: torch.device | None) -> Any:
    """The task of a study, its data found on disk, for a device; the CPU where none is given.

    Raises:
        UnknownName, InvalidInput: a plugin, the task or its data name nothing, or do not fit.
    """
    for plugin in study.plugins:
        imported(f"plugins: {plugin!r}", plugin)
    config = dict(study.task)
    config.setdefault("seed", study.seed)
    task = registry.build("task", config.pop("name", "zeroshot"), config).open()
    task.device = device or torch.device("cpu")
    return task
