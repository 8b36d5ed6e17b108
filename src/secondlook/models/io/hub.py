"""Checkpoints of diffusers and transformers: in a folder, in the hub's cache, or on the hub."""

from __future__ import annotations

import importlib
import json
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any, Final, Literal

from secondlook.errors import InvalidInput

WEIGHTS = "diffusion_pytorch_model.safetensors"
SAFE: Final = ("model.safetensors", "model.safetensors.index.json")
_LONGEST = 300
"""Letters of a library's reason; some list all that they know."""
PICKLED: Final = ("pytorch_model.bin", "pytorch_model.bin.index.json")


def extra(module: str, group: str = "diffusion") -> ModuleType:
    """A module that comes with an extra.

    Raises:
        InvalidInput: the extra is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise InvalidInput(f'{module} is not installed; run: pip install "secondlook[{group}]"') from None


@contextmanager
def _quietly(family: str) -> Iterator[None]:
    """No report nor bar of the library within the block: what is wrong with a checkpoint is said by an error."""
    library, group = ("diffusers", "diffusion") if family == "diffusers" else ("transformers", "hf")
    log = extra(library, group).utils.logging
    level, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bar:
            log.enable_progress_bar()


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where a checkpoint is.

    Attributes:
        source: a folder, or ``OWNER/NAME`` on the hub; what is in its cache is not asked for again.
        revision: a branch, tag or commit on the hub; None is its main branch.
        family: how the user names such checkpoints, for messages.
        pickle: whether weights may be read from a pickle, of which nothing but tensors is taken.

    Raises:
        InvalidInput: it can be neither.
    """

    source: str
    revision: str | None = None
    family: Literal["diffusers", "hf"] = "diffusers"
    pickle: bool = False

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
            InvalidInput: none is, or there is no way to the hub; or it is no JSON object.
        """
        path, file = self.find(*paths)
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{file} is no JSON: {error}; fetch it again") from None
        if not isinstance(content, dict):
            raise InvalidInput(f"{file} holds no JSON object, {{...}}; fetch it again")
        return path, content

    def find(self, *paths: str) -> tuple[str, Path]:
        """The first of several files that is there, and where.

        Raises:
            InvalidInput: none is, or there is no way to the hub.
        """
        for search in (self._beside, self._fetched):
            for path in paths:
                if (file := search(path)) is not None:
                    return path, file
        library = "diffusers" if self.family == "diffusers" else "transformers"
        raise InvalidInput(
            f"{self.source} has no {' nor '.join(paths)}; is it a {library} folder? If it is, put {paths[0]} into it"
        )

    def weighed(self) -> str:
        """The file of the weights of a network of transformers, or the list of its parts.

        Raises:
            InvalidInput: there is none, or it is a pickle and none is to be read.
        """
        if self.pickle:
            return self._checked(self.find(*SAFE, *PICKLED)[0])
        found = next((path for path in SAFE if self._beside(path)), None)
        if found is None and (path := next((p for p in PICKLED if self._beside(p)), None)):
            raise InvalidInput(
                f"the weights of {self.source} are in a pickle, {path}; take {SAFE[0]} instead, or "
                f"write hf:{self.source}?pickle=true to take nothing but tensors out of it"
            )
        return self._checked(found or self.find(*SAFE)[0])

    def _checked(self, path: str) -> str:
        """The file, or a list of parts of which none lies elsewhere.

        Raises:
            InvalidInput: one does, or it is no such list.
        """
        if not path.endswith(".index.json"):
            return path
        parts = self.first(path)[1].get("weight_map")
        if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
            raise InvalidInput(f"{self.source}/{path} has no weight_map of names and files; fetch it again")
        if outside := [part for part in parts.values() if PurePath(part).name != part or part == ".."]:
            raise InvalidInput(f"{self.source}/{path} names {outside[0]!r}, outside of it; fetch it again")
        return path

    def weights(self, load: Callable[..., Any], subfolder: str | None) -> Any:
        """What ``load``, a ``from_pretrained``, makes of the weights in ``subfolder``.

        Raises:
            InvalidInput: they are missing or damaged.
        """
        what = "/".join(filter(None, (subfolder, WEIGHTS)))
        return self.made(load, what, subfolder=subfolder, low_cpu_mem_usage=False, use_safetensors=True)

    def made(self, load: Callable[..., Any], what: str, **options: Any) -> Any:
        """What ``load``, a ``from_pretrained``, makes of ``what``, from here or from the hub.

        Raises:
            InvalidInput: it is missing or damaged.
        """
        source = str(self.folder) if self.local else self.source
        pinned: dict[str, Any] = {} if self.revision is None else {"revision": self.revision}
        if self.family == "hf":
            # Left out, a checkpoint that brings code along asks for leave at the console.
            pinned["trust_remote_code"] = False
        ways: tuple[dict[str, bool], ...] = ({"local_files_only": True}, {})
        for way in ways[: 1 if self.local else 2]:
            try:
                with _quietly(self.family):
                    return load(source, **options, **pinned, **way)
            except Exception as error:
                reason = error
        why = textwrap.shorten(str(reason), _LONGEST, placeholder=" …")
        raise InvalidInput(
            f"{self.source}/{what} cannot be loaded: {why}; fetch it again, or put there what is missing"
        ) from reason

    @property
    def _hub(self) -> ModuleType:
        return extra("huggingface_hub", "diffusion" if self.family == "diffusers" else "hf")

    def _beside(self, path: str) -> Path | None:
        """A file that is on this machine."""
        if self.local:
            return self.folder / path if (self.folder / path).is_file() else None
        hub = self._hub
        try:
            found = hub.try_to_load_from_cache(self.source, path, revision=self.revision)
        except hub.errors.HFValidationError as error:
            raise InvalidInput(f"{self.source!r} is neither a folder nor OWNER/NAME: {error}") from None
        return Path(found) if isinstance(found, str) else None

    def _fetched(self, path: str) -> Path | None:
        """A file from the hub."""
        if self.local:
            return None
        hub = self._hub
        try:
            return Path(hub.hf_hub_download(self.source, path, revision=self.revision))
        except hub.errors.LocalEntryNotFoundError:
            at = "" if self.revision is None else f" at the revision {self.revision!r}"
            raise InvalidInput(
                f"{path} of {self.source}{at} is not on this machine and the hub cannot be "
                f"reached; put the checkpoint into a folder and write {self.family}:FOLDER, "
                f"or into the cache at {hub.constants.HF_HUB_CACHE}"
            ) from None
        except hub.errors.RepositoryNotFoundError:
            raise InvalidInput(f"the hub has no {self.source}, or keeps it private") from None
        except hub.errors.RevisionNotFoundError:
            raise InvalidInput(f"{self.source} has no revision {self.revision!r}") from None
        except hub.errors.EntryNotFoundError:
            return None
        except (hub.errors.HfHubHTTPError, ValueError, OSError) as error:
            raise InvalidInput(
                f"{path} of {self.source} cannot be fetched: {str(error).strip()}; put the "
                f"checkpoint into a folder and write {self.family}:FOLDER"
            ) from error
