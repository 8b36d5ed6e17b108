"""A study: the config file that says what is audited, checked key by key."""

from __future__ import annotations

import difflib
import itertools
import os
import re
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from secondlook.errors import InvalidInput, UnknownName
from secondlook.threat import Knowledge, Norm, Pixels, Threat

Table = dict[str, Any]
M = TypeVar("M", bound=BaseModel)


class Budget(BaseModel):
    """The threat: a norm, and one radius or several (``"8/255"``, in pixel units)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    norm: Norm = "linf"
    eps: list[Pixels] = Field(default_factory=lambda: [8 / 255], min_length=1)

    @field_validator("eps")
    @classmethod
    def _each_a_threat(cls, value: list[float], info: ValidationInfo) -> list[float]:
        """Refuses a radius now that would be refused when the study runs."""
        return [Threat.parse(info.data.get("norm", "linf"), eps).eps for eps in value]


class Manner(BaseModel):
    """How an attacker looks at a victim that it knows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    draws: int = Field(1, ge=1)
    """Fresh looks of a randomised victim in each step."""
    gradient: Literal["full", "bpda"] = "full"
    """Through the purifier, or past it."""
    objective: Literal["cosine", "votes"] = "cosine"
    """Align the embedding, or win the votes."""


class Study(BaseModel):
    """What is audited.

    In the tables ``attack``, ``adaptive`` and ``defences`` a list stands for a sweep: one row of
    the matrix for each of its values.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str = ""
    about: str = ""
    """What the study reproduces, and the figures of the paper to compare with."""
    seed: int = 0
    batch: int = Field(50, ge=1)
    """Samples that are attacked together; it changes speed and memory, not results."""
    rescore: int = Field(3, ge=1)
    """Fresh decisions of a randomised defence on each adversarial."""
    exhibits: int = Field(8, ge=0)
    """Samples in the report's gallery."""
    plugins: list[str] = []
    """Modules to import first: they may register attacks, defences, models, data and tasks."""
    task: Table = Field(default_factory=lambda: {"name": "zeroshot"})
    models: list[str] = Field(default_factory=lambda: ["scenes:clip"], min_length=1)
    surrogates: list[str] = []
    """What a ``transfer`` attack is crafted on."""
    threat: Budget = Budget()
    attack: Table = Field(default_factory=lambda: {"name": "illusion"})
    adaptive: Table = {}
    """What an adaptive attack does otherwise: settings of ``attack``, and ``draws`` (fresh looks
    in each step), ``gradient`` (``full`` or ``bpda``) and ``objective`` (``cosine`` or ``votes``).
    """
    defences: list[Table] = Field(default_factory=lambda: [{"name": "undefended"}], min_length=1)
    knowledge: list[Knowledge] = ["clean", "oblivious", "adaptive"]

    @field_validator("knowledge")
    @classmethod
    def _clean_first(cls, value: list[Knowledge]) -> list[Knowledge]:
        """The clean row is always there: without it no other can be read."""
        order: tuple[Knowledge, ...] = get_args(Knowledge)
        return [known for known in order if known in value or known == "clean"]


def sweep(table: Table) -> Iterator[Table]:
    """One table for each combination of the values that are lists.

    Raises:
        InvalidInput: a list is empty.
    """
    for key, value in table.items():
        if value == []:
            raise InvalidInput(f"{key} = [] sweeps over nothing; give a value or take the key away")
    options = [value if isinstance(value, list) else [value] for value in table.values()]
    for values in itertools.product(*options):
        yield dict(zip(table, values, strict=True))


def shipped() -> dict[str, Path]:
    """The studies in the package, by name."""
    folder = Path(str(resources.files("secondlook.studies")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read(name: str) -> Study:
    """A study by its file's path, or by name from the package.

    Raises:
        UnknownName: there is no such file or study, or a key is unknown.
        InvalidInput: the file is no TOML, or a value does not fit.
    """
    path = Path(name) if name.endswith(".toml") else shipped().get(name)
    if path is None or not path.is_file():
        raise UnknownName("study", name, shipped())
    try:
        table = tomllib.loads(_expanded(path.read_text(encoding="utf-8"), path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is no TOML: {error}") from None
    return parse({"name": path.stem, **table}, str(path))


def _expanded(text: str, path: Path) -> str:
    """Fills in environment variables, ``${NAME}``: a study can name data without saying where."""
    filled = os.path.expandvars(text)
    if missing := re.search(r"\$\{(\w+)\}", filled):
        raise InvalidInput(f"{path} reads the variable {missing[1]}; set it to a folder")
    return filled


def parse(table: Table, where: str) -> Study:
    """Checks a study's table.

    Raises:
        InvalidInput: a key is unknown (the nearest is offered) or a value does not fit.
    """
    return _parsed(Study, table, where)


def manner(table: Table, where: str) -> Manner:
    """Checks ``draws``, ``gradient`` and ``objective``.

    Raises:
        InvalidInput: a value does not fit.
    """
    return _parsed(Manner, table, where)


def _parsed(kind: type[M], table: Table, where: str) -> M:
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise InvalidInput(f"{where}: {_explained(error)}") from None


def _explained(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{key} = {first['input']!r}: {first['msg'].removeprefix('Value error, ')}"
    known = Budget.model_fields if key.startswith("threat.") else Study.model_fields
    near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"there is: {', '.join(known)}"
    return f"unknown key {key!r}; {hint}"
