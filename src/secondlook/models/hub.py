"""Checkpoints of the diffusers ecosystem: in a folder, in the hub's cache, or on the hub."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from secondlook.errors import InvalidInput

WEIGHTS = "diffusion_pytorch_model.safetensors"


def extra(module: str) -> ModuleType:
    """A module that comes with the extra ``diffusion``.

    Raises:
        InvalidInput: the extra is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise InvalidInput(
            f'{module} is not installed; run: pip install "secondlook[diffusion]"'
        ) from None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where a checkpoint is.

    Attributes:
        source: a folder, or ``OWNER/NAME`` on the hub; what is in its cache is not asked for again.

    Raises:
        InvalidInput: it can be neither.
    """

    source: str

    def __post_init__(self) -> None:
        if not self.local and (self.source[0] in "/.~" or self.source.count("/") != 1):
            raise InvalidInput(f"no folder {self.source}; write a folder, or OWNER/NAME of the hub")

    @property
    def folder(self) -> Path:
        """The source as a folder, which may not exist."""
        return Path(self.source).expanduser()

    @property
    def local(self) -> bool:
        """Whether it is a folder."""
        return self.folder.is_dir()

    def first(self, *paths: str) -> tuple[str, dict[str, Any]]:
        """The first of several JSON files that is there, and what it says.

        Raises:
            InvalidInput: none is, or there is no way to the hub.
        """
        for look in (self._beside, self._fetched):
            for path in paths:
                if (file := look(path)) is not None:
                    return path, json.loads(file.read_text(encoding="utf-8"))
        raise InvalidInput(f"{self.source} has no {' nor '.join(paths)}; is it a diffusers folder?")

    def weights(self, load: Callable[..., Any], subfolder: str | None) -> Any:
        """What ``load``, a ``from_pretrained``, makes of the weights in ``subfolder``.

        Raises:
            InvalidInput: they are missing or damaged.
        """
        source = str(self.folder) if self.local else self.source
        ways: tuple[dict[str, bool], ...] = ({"local_files_only": True}, {})
        for way in ways[: 1 if self.local else 2]:
            try:
                return load(source, subfolder=subfolder, low_cpu_mem_usage=False, **way)
            except Exception as error:
                reason = error
        where = "/".join(filter(None, (self.source, subfolder, WEIGHTS)))
        raise InvalidInput(f"{where} cannot be loaded: {reason}") from reason

    def _beside(self, path: str) -> Path | None:
        """A file that is on this machine."""
        if self.local:
            return self.folder / path if (self.folder / path).is_file() else None
        found = extra("huggingface_hub").try_to_load_from_cache(self.source, path)
        return Path(found) if isinstance(found, str) else None

    def _fetched(self, path: str) -> Path | None:
        """A file from the hub."""
        if self.local:
            return None
        hub = extra("huggingface_hub")
        try:
            return Path(hub.hf_hub_download(self.source, path))
        except hub.errors.LocalEntryNotFoundError:
            raise InvalidInput(
                f"{path} of {self.source} is not on this machine and the hub cannot be reached; "
                "put the checkpoint into a folder and write diffusers:FOLDER, "
                f"or into the cache at {hub.constants.HF_HUB_CACHE}"
            ) from None
        except hub.errors.RepositoryNotFoundError:
            raise InvalidInput(f"the hub has no {self.source}, or keeps it private") from None
        except hub.errors.EntryNotFoundError:
            return None
