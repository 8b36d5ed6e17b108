"""A study: the config file that says what is audited, checked key by key."""

from __future__ import annotations

import difflib
import itertools
import os
import tomllib
import unicodedata
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from secondlook.bounds import LARGEST
from secondlook.errors import InvalidInput, UnknownName
from secondlook.places import at_home, everywhere
from secondlook.threat import Knowledge, Norm, Pixels, Threat

Table = dict[str, Any]
M = TypeVar("M", bound=BaseModel)
_ORDER: tuple[Knowledge, ...] = get_args(Knowledge)


def _no_flag(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("it is true or false; write a whole number")
    return value


Whole = Annotated[int, BeforeValidator(_no_flag), Field(le=LARGEST)]
"""A whole number, for which ``true`` is none."""
_MOST = 10_000
"""Decisions on one input."""
_DEPTHS = {"stack": 1, "scales": 2}
"""How deep the lists of a setting lie in each other that is a list itself."""


class Budget(BaseModel):
    """The threat: a norm, and one radius or several (``"8/255"``, in pixel units)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    norm: Norm = "linf"
    eps: list[Pixels] = Field(default_factory=lambda: [8 / 255], min_length=1)

    @model_validator(mode="after")
    def _ratio_is_said(self) -> Budget:
        """Refuses the usual radius where the budget is a ratio."""
        if self.norm == "snr" and "eps" not in self.model_fields_set:
            raise ValueError('norm = "snr" without eps; write the least ratio in dB, eps = ["30"]')
        return self

    @field_validator("eps")
    @classmethod
    def _each_a_threat(cls, value: list[float], info: ValidationInfo) -> list[float]:
        """Refuses a radius now that would be refused when the study runs."""
        if info.data.get("norm") == "snr" and len(value) > 1:
            raise ValueError("several ratios; a larger one is a smaller budget, write one in each study")
        return [Threat.parse(info.data.get("norm", "linf"), eps).eps for eps in value]


class Study(BaseModel):
    """What is audited.

    In the tables ``attack``, ``adaptive``, ``attacks``, ``defenses`` and ``controls`` a list stands
    for a sweep: one row of the matrix for each of its values.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str = ""
    about: str = ""
    """What the study reproduces, and the figures of the paper to compare with."""
    seed: Whole = Field(0, ge=0)
    batch: Whole = Field(50, ge=1)
    """Samples that are attacked together; it changes speed and memory, not results."""
    rescore: Whole = Field(3, ge=1, le=_MOST)
    """Fresh decisions of a randomized defense on each adversarial."""
    resubmitted: Whole = Field(0, ge=0, le=_MOST)
    """How often each attacked input is sent again to a randomized defense, for the curve of the chance that one of
    k tries gets through; 0 for no curve."""
    certified: Whole = Field(0, ge=0)
    """Draws of the certificate of each input behind a defense that begins with Gaussian noise; 0 for none."""
    diagnosed: Whole = Field(8, ge=0)
    """Samples on which each manner of attacking a defense is tried by itself; 0 for no diagnosis."""
    claims: bool = False
    """Whether each defense is told beside what was published of it, as its card says. A table in ``defenses`` may
    name a card of its own, ``claim = "mine.toml"``, with or without this."""
    guards: bool = False
    """Whether a guard is written beside the report for each budget: the best of the defenses that reject."""
    examples: Whole = Field(8, ge=0)
    """Samples in the report's gallery."""
    plugins: list[str] = []
    """Modules to import first: they may register attacks, defenses, models, data and tasks."""
    task: Table = Field(default_factory=lambda: {"name": "zeroshot"})
    models: list[str] = Field(default_factory=lambda: ["scenes:clip"], min_length=1)
    prompts: list[str] = []
    """Templates for the class names, or names of sets of them; an embedder is audited under each.
    Empty takes the task's."""
    surrogates: list[str] = []
    """What a ``transfer`` attack is made on."""
    threat: Budget = Budget()
    attack: Table = Field(default_factory=lambda: {"name": "illusion"})
    adaptive: Table = {}
    """What an adaptive attack does otherwise; one with a ``name`` of its own takes no settings
    of ``attack`` over. Beside settings there are ``draws`` (fresh
    draws in each step), ``gradient`` (``full`` or ``bpda``), ``objective`` (one of the task's) and
    ``instead`` (settings of the defense as the attacker believes them).
    """
    attacks: list[Table] = []
    """Further attacks, side by side: each is what ``attack`` with ``adaptive`` would be, and may
    say in ``knowledge`` which rows it makes. Where there are such, ``attack`` may be left away.
    """
    defenses: list[Table] = Field(default_factory=lambda: [{"name": "undefended"}], min_length=1)
    """What stands in front of the models; a table may name some of them in ``models``."""
    controls: list[Table] = []
    """What the defenses are to be read beside: a part of one alone, or one that rejects everything.
    Each is a table as in ``defenses``; its rows make no headline. It may say in ``model`` what
    stands in for all of ``models``, and in ``knowledge`` which rows it makes."""
    knowledge: list[Knowledge] = ["clean", "oblivious", "adaptive"]

    @field_validator("name")
    @classmethod
    def _one_folder(cls, value: str) -> str:
        """The name is that of a folder below ``runs/``, and leads nowhere else."""
        if value in ("", ".", "..") or not value.isprintable() or set(value) & set("/\\") or len(value) > 100:
            raise ValueError("it becomes a folder in runs/; write letters, digits, blanks, - and _, up to 100")
        return value

    @field_validator("knowledge")
    @classmethod
    def _clean_first(cls, value: list[Knowledge]) -> list[Knowledge]:
        """The clean row is always there: without it no other can be read."""
        return [known for known in _ORDER if known in value or known == "clean"]

    @field_validator("attacks", "controls")
    @classmethod
    def _known_rows(cls, value: list[Table]) -> list[Table]:
        for known in (known for table in value for known in _listed(table.get("knowledge", []))):
            if known not in _ORDER:
                raise ValueError(f"knowledge = {known!r} is unknown; write one of {_ORDER}")
        return value

    @field_validator("defenses")
    @classmethod
    def _for_models(cls, value: list[Table]) -> list[Table]:
        for models in (table["models"] for table in value if "models" in table):
            if not isinstance(models, list) or not models or not all(isinstance(each, str) for each in models):
                raise ValueError(f'models = {models!r} is no list of names; write models = ["scenes:clip-vit"]')
        return value

    @field_validator("title", "about")
    @classmethod
    def _printable(cls, value: str) -> str:
        """Nothing in them steers a terminal."""
        if any(unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t" for letter in value):
            raise ValueError("it holds a control character; take it away")
        return value

    @field_validator("task", "attack", "attacks", "defenses", "controls")
    @classmethod
    def _named_by_text(cls, value: Any) -> Any:
        """Names and labels are texts, and no two defenses have one label."""
        tables = value if isinstance(value, list) else [value]
        for key in ("name", "label"):
            for table in tables:
                for name in _listed(table.get(key, [])):
                    if not isinstance(name, str) or not name.strip():
                        raise ValueError(f"{key} = {name!r} is no name; write a text")
        labels = [table["label"] for table in tables if "label" in table]
        if twice := {label for label in labels if labels.count(label) > 1}:
            raise ValueError(f"label = {min(twice)!r} stands at two defenses; give each its own")
        return value

    @field_validator("attacks")
    @classmethod
    def _each_once(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """No attack has two rows that are the same."""
        if twice := [table for at, table in enumerate(value) if table in value[:at]]:
            raise ValueError(f"{twice[0].get('name', 'an attack')!r} stands there twice; leave one out")
        return value

    @model_validator(mode="before")
    @classmethod
    def _at_home(cls, table: Any) -> Any:
        """The user's home folder is ``~``: a study is stored, and a model called, without its name."""
        return everywhere(table, at_home)

    @model_validator(mode="before")
    @classmethod
    def _attacks_alone(cls, table: Any) -> Any:
        """Where there are ``attacks``, there is no ``attack`` beside them unless it is given."""
        if not isinstance(table, dict) or not table.get("attacks"):
            return table
        attack = table.get("attack", {})
        if isinstance(attack, dict) and attack and "name" not in attack:
            raise ValueError("attack has no name; write attacks.0.steps to change one of attacks")
        return {**table, "attack": attack}

    @property
    def known(self) -> list[Knowledge]:
        """The kinds of rows that some attack makes, the clean one first."""
        wanted = {known for table in self.attacks for known in table.get("knowledge", [])}
        return [known for known in _ORDER if known in wanted or known in self.knowledge]

    def attack_tables(self, knowledge: Knowledge, bare: bool) -> list[Table]:
        """The tables of the attacks of that knowledge, lists and all.

        ``bare`` says that nothing defends: there is nothing then to know beside the model.
        """
        tables = []
        if knowledge in self.knowledge and (self.attack or not self.attacks):
            over = self.adaptive if knowledge == "adaptive" and not bare else {}
            another = over.get("name", self.attack.get("name")) != self.attack.get("name")
            tables.append({**({} if another else self.attack), **over})
        for table in self.attacks:
            if knowledge in table.get("knowledge", self.knowledge):
                tables.append({key: value for key, value in table.items() if key != "knowledge"})
        return tables


def _listed(value: Any) -> list[Any]:
    """A value, or the values of a sweep."""
    return value if isinstance(value, list) else [value]


def shipped() -> dict[str, Path]:
    """The studies in the package, by name."""
    return {path.stem: path for path in sorted(shipped_at().glob("*.toml"))}


def shipped_at() -> Path:
    """The folder of the studies in the package."""
    return Path(str(resources.files("secondlook.studies")))


def read(name: str) -> Study:
    """A study by its file's path, or by name from the package.

    Raises:
        UnknownName: there is no such file or study, or a key is unknown.
        InvalidInput: the file is no TOML, or a value does not fit.
    """
    path = Path(name) if name.endswith(".toml") or os.sep in name else shipped().get(name)
    if path is None:
        raise UnknownName("study", name, shipped(), shipped())
    near = difflib.get_close_matches(path.stem, shipped(), n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"name a TOML file, or a study: {', '.join(shipped())}"
    return parse({"name": path.stem, **read_table(path, hint)}, str(path))


def read_table(path: Path, hint: str = "name a TOML file") -> Table:
    """What a TOML file says.

    Args:
        path: of the file.
        hint: what to do where there is none.

    Raises:
        InvalidInput: there is no such file, or it is no TOML.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InvalidInput(f"{path} is no regular file, and reading it might never end; name a TOML file")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        what = "is a folder and no study" if path.is_dir() else f"is no such file ({error.strerror})"
        raise InvalidInput(f"{path} {what}; {hint}") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is no TOML: {error}") from None
    try:
        return tomllib.loads(text)
    # Beside its own, those of too many digits and of too many brackets.
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is no TOML: {error}") from None


def parse(table: Table, where: str) -> Study:
    """Checks a study's table.

    Raises:
        InvalidInput: a key is unknown (the nearest is offered) or a value does not fit.
    """
    return checked(Study, table, where)


def sweep(table: Table) -> Iterator[Table]:
    """One table for each combination of the values that are lists.

    ``stack`` is swept if it is a list of lists, and the ``scales`` of one if they are a list of such lists.

    Raises:
        InvalidInput: a list is empty.
    """
    for key, value in table.items():
        if value == []:
            raise InvalidInput(f"{key} = [] sweeps over nothing; give a value or take the key away")
    options = [value if _swept(key, value) else [value] for key, value in table.items()]
    for values in itertools.product(*options):
        yield dict(zip(table, values, strict=True))


def _swept(key: str, value: object) -> bool:
    """Whether a value is a list to sweep over; the members of a stack are one value, and so are their scales."""
    return _depth(value) > _DEPTHS.get(key, 0)


def _depth(value: object) -> int:
    """How deep lists lie in each other, everywhere at least."""
    return 1 + min(map(_depth, value), default=0) if isinstance(value, list) else 0


def believing_sweep(given: Table, believing: bool) -> Iterator[Table]:
    """Every combination of an attack's settings, and of those in which an attacker believes.

    Raises:
        InvalidInput: a list is empty, or ``instead`` is no table.
    """
    for table in sweep(given):
        beliefs = table.pop("instead", {})
        if not isinstance(beliefs, dict):
            raise InvalidInput(f"instead = {beliefs!r} is no table; write {{ samples = 3 }}, say")
        beliefs = beliefs if believing else {}
        for instead in sweep(beliefs):
            yield {**table, "instead": instead}


def checked(kind: type[M], table: Table, where: str) -> M:
    """A table as ``kind``.

    Raises:
        InvalidInput: a key is unknown (the nearest is offered), a value does not fit, or tables are
            nested too deeply.
    """
    try:
        return kind.model_validate(table)
    except RecursionError:
        raise InvalidInput(f"{where}: its tables lie in each other without end; a study is three deep") from None
    except ValidationError as error:
        raise InvalidInput(f"{where}: {_explained(error, kind)}") from None


def _explained(error: ValidationError, kind: type[BaseModel]) -> str:
    # A key that is written wrongly is missing as well: what is there is told, and not what is not.
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{key} is missing"
    if first["type"] != "extra_forbidden":
        reason = first["msg"].removeprefix("Value error, ")
        whole = first["type"] == "value_error" and isinstance(first["input"], dict)
        value = "" if whole else f" = {first['input']!r}"
        return f"{key}{value}: {reason}" if key else reason
    known = _fields(kind, first["loc"])
    near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"there is: {', '.join(known)}"
    return f"unknown key {key!r}; {hint}"


def _fields(kind: type[BaseModel], where: tuple[int | str, ...]) -> list[str]:
    """The keys that there are at a place."""
    for part in (part for part in where[:-1] if isinstance(part, str)):
        said = kind.model_fields[part].annotation
        inner = next(iter(get_args(said)), said)
        kind = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else kind
    return list(kind.model_fields)
