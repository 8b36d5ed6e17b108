"""Names are the field's, in American spelling: those of the design's list are gone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from secondlook import registry

SOURCE = Path(__file__).resolve().parents[1] / "src" / "secondlook"

GONE = {
    # name: what is said instead
    "glimpse": "surrogate",
    "judged": "evaluation",
    "aim": "guarded objective",
    "bout": "untargeted objective",
    "melee": "ensemble",
    "contest": "class objective",
    "lens": "guarded model",
    "sight": "guarded model",
    "curtain": "guarded model",
    "watched": "guarded model",
    "unnamed": "guarded model",
    "screened": "guarded model",
    "forge": "attack spec",
    "craft": "generate",
    "crafted": "generated",
    "climb": "search state",
    "climber": "search",
    "hunt": "search state",
    "walk": "search state",
    "diary": "trace",
    "pool": "active set",
    "echo": "match caption",
    "resemble": "match embedding",
    "relay": "transfer, then query",
    "say": "targeted caption",
    "unsay": "untargeted caption",
    "mislead": "untargeted",
    "unsuspected": "detector evasion",
    "hearing": "caption feedback",
    "reflected": "through the painting",
    "easel": "image cache",
    "mirrors": "regenerated images",
    "eyes": "encoders",
    "eye": "encoder",
    "opinion": "auxiliary model",
    "opinions": "auxiliary models",
    "suspecting": "reject by detector",
    "rivals": "baselines",
    "rivalry": "cross-row checks",
    "whom": "victim selection",
    "rooms": "pipeline",
    "roster": "model cache",
    "desk": "chunk cache",
    "ahead": "AUROC difference",
    "told": "provenance",
    "exhibit": "example",
    "exhibits": "examples",
    "course": "training config",
    "lesson": "dataset",
    "lessons": "dataset",
    "shelf": "output paths",
    "team": "distributed",
    "student": "trainable embedder",
    "crossing": "cross-modal augmentation",
    "patient": "model under test",
    "mend": "fix",
    "heard": "read",
    "noisy": "weight noise",
    "hears": "reads",
    "speaks": "captions",
    "floors": "layers",
    "house": "package",
}
CLASSES_GONE = {
    "Glimpse",
    "Judged",
    "Aim",
    "Bout",
    "Melee",
    "Contest",
    "Measured",
    "Victim",
    "Lens",
    "Behind",
    "Unnamed",
    "Seen",
    "Sight",
    "Through",
    "Curtain",
    "Screened",
    "Watched",
    "Forge",
    "Climb",
    "Hunt",
    "Walk",
    "Finds",
    "Diary",
    "Pool",
    "Resemble",
    "Relay",
    "Echo",
    "Say",
    "Unsay",
    "Mislead",
    "WinVotes",
    "Easel",
    "Mirrors",
    "Eyes",
    "Roster",
    "Whom",
    "Room",
    "Desk",
    "Team",
    "Student",
    "Course",
    "Lessons",
    "Shelf",
    "Patient",
    "Told",
    "Manner",
}
"""Names that are gone as those of classes, though a word of them may be a good one elsewhere."""
ATTACKS_GONE = {"words", "co", "sep", "gradient"}
BRITISH = re.compile(
    r"colour|neighbour|grey|defence|favour|honour|behaviour|centre|licence|modell(ed|ing)|"
    r"labell(ed|ing)|travell|(normal|general|initial|optim|random|quant|recogn|real|summar|minim|"
    r"maxim|regular|organ|penal|serial|token|special|visual|organ)is(e|ed|es|ing|ation)\b"
)
DATA_WORDS = {"grey", "centre", "colour"}
"""Words of the embedded world's captions and splits, as the models that ship have learnt them."""


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def words(name: str) -> list[str]:
    """The words of a name in snake or camel case."""
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name.replace("_", " "))


def names(path: Path) -> Iterator[str]:
    """The module's own name, and its public classes, functions, methods, fields and arguments."""
    yield path.stem if path.stem != "__init__" else path.parent.name
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.arg(arg=name):
                yield name


def public(path: Path) -> set[str]:
    return {name for name in names(path) if not name.startswith("_")}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_name_of_the_list_is_left(path: Path) -> None:
    found = {name: GONE[word.lower()] for name in public(path) for word in words(name) if word.lower() in GONE}
    assert not found, f"{found}: say what stands behind the colon"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_spelling_is_american(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = {match[0] for match in BRITISH.finditer(text)}
    if path.is_relative_to(SOURCE / "scenes"):
        found -= DATA_WORDS
    assert not found


def test_no_class_of_the_list_is_left() -> None:
    classes = {
        node.name
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    assert not classes & CLASSES_GONE
    assert "Guarded" in classes


def test_attacks_bear_the_names_of_their_papers() -> None:
    registered = {*registry.names("attack"), *registry.names("pair attack")}
    assert not registered & ATTACKS_GONE
    assert {"bert-attack", "co-attack", "sep-attack", "hotflip"} <= registered
