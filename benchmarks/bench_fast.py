"""The fast version of AutoAttack beside the standard one: what is left of each model, and for how many passes.

What a model that is not robust costs is near its floor in either version; the ratio counts where samples survive.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from secondlook.attacks.autoattack import AutoAttack
from secondlook.defenses.guarded import Guarded
from secondlook.ledger import counting
from secondlook.models import load
from secondlook.models.logits import LogitClassifier
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.statistics import paired_difference
from secondlook.tasks.classification import ClassificationTask
from secondlook.threat import Threat, fraction, in_levels

SHARED = Path(os.environ.get("SECONDLOOK_SHARED", "../shared"))
CIFAR = f"cifar10:{SHARED}/data/cifar10/cifar10_test_jpeg.npz"
IMAGENET = f"imagenet:{SHARED}/data/imagenet-samples"
GOLDEN = SHARED / "golden" / "apgd_linear101.safetensors"
SHARE, POINTS = 0.15, 0.005
"""The targets: passes of the fast version over those of the standard one, and what it may leave more."""
VERSIONS = {
    "standard": AutoAttack(),
    "fast": AutoAttack(version="fast", check=0.0),
    "fast, checked": AutoAttack(version="fast"),
}


@dataclass(frozen=True)
class Case:
    """A model at a radius, on so many images; embedders answer with the classes of their data."""

    model: str
    data: str
    eps: str
    count: int

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{Path(self.model.partition('?')[0]).stem.removeprefix('file:')} at {in_levels(fraction(self.eps))}"

    def open(self) -> tuple[UntargetedObjective, Tensor, Keys]:
        """The objective on the images, and a key for each of them."""
        if self.model == "golden":
            return self._golden()
        task = ClassificationTask(data=self.data, samples=self.count).open()
        guarded = Guarded(task.classifier(load(self.model)))
        batch = task.batch(range(self.count), guarded)
        return UntargetedObjective(goal=Untargeted(truth=batch.truth), victim=guarded), batch.images, batch.keys

    def _golden(self) -> tuple[UntargetedObjective, Tensor, Keys]:
        stored = load_file(GOLDEN)
        weight, bias = stored["weights.fc.weight"], stored["weights.fc.bias"]
        model = LogitClassifier("linear101", lambda x: x.flatten(1) @ weight.T + bias, [str(k) for k in range(101)])
        truth, clean = stored["inputs.y"][: self.count], stored["inputs.x"].float()[: self.count]
        objective = UntargetedObjective(goal=Untargeted(truth=truth), victim=Guarded(model))
        return objective, clean, Keys.of(0, range(self.count))


def exported(name: str) -> str:
    return f"file:{SHARED}/data/models/{name}.pt2?trust=true"


SCENES = "scenes:test"
CASES = (
    Case("golden", "", "8/255", 64),
    Case("scenes:classifier", SCENES, "8/255", 64),
    Case("scenes:classifier-at", SCENES, "8/255", 32),
    Case("scenes:clip", SCENES, "2/255", 64),
    Case("scenes:clip-tecoa", SCENES, "8/255", 16),
    Case("scenes:clip-fare", SCENES, "4/255", 16),
    Case("scenes:clip-mat", SCENES, "2/255", 16),
    Case("scenes:clip-matplus", SCENES, "1/255", 16),
    Case(exported("cifar10-resnet20"), CIFAR, "1/255", 64),
    Case(exported("cifar10-resnet56"), CIFAR, "8/255", 64),
    Case(exported("cifar10-at-cnn-a"), CIFAR, "2/255", 64),
    Case(exported("cifar10-at-resnet4b"), CIFAR, "2/255", 32),
    Case(exported("imagenet-mobilenet-v2"), IMAGENET, "4/255", 24),
)


@dataclass(frozen=True)
class Row:
    """One version on one case: who is left, sample by sample, and what it cost."""

    case: str
    version: str
    clean: list[bool]
    left: list[bool]
    forwards: int
    backwards: int
    seconds: float
    notices: tuple[str, ...]

    @property
    def passes(self) -> int:
        """Forwards and backwards together."""
        return self.forwards + self.backwards

    @property
    def robust(self) -> float:
        """Share of the samples that are left."""
        return sum(self.left) / len(self.left)


def measure(case: Case, version: str) -> Row:
    """One attack, and a fresh look at what it hands in."""
    objective, clean, keys = case.open()
    threat = Threat(eps=fraction(case.eps))
    with counting() as ledger:
        found = VERSIONS[version](objective, clean, threat, keys)
    with torch.no_grad():
        right, left = (~objective(x, keys.fold("fresh")).success for x in (clean, found.x))
    passes = (ledger.forwards, ledger.backwards, round(ledger.seconds, 1))
    return Row(case.name, version, right.tolist(), left.tolist(), *passes, tuple(found.notices))


class Kept:
    """Rows that were measured before, by case and version, in a file of JSON lines where one is named."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path and path.exists() else []
        rows = [Row(**json.loads(line)) for line in lines]
        self._rows = {(row.case, row.version): row for row in rows}

    def row(self, case: Case, version: str) -> Row:
        """The row as it was kept, or measured now."""
        at = (case.name, version)
        if at not in self._rows:
            self._rows[at] = measure(case, version)
            if self._path:
                with self._path.open("a") as file:
                    file.write(json.dumps(asdict(self._rows[at])) + "\n")
        return self._rows[at]


HEAD = (
    "| model | n | clean | version | robust | more than standard [95 %] | forwards | backwards | s | of its passes |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def lines(rows: Sequence[Row]) -> list[str]:
    """The rows of one case; the first is the standard version."""
    first = rows[0]
    written = []
    for row in rows:
        more = paired_difference(row.left, first.left)
        apart = "" if row is first else f"{more.value:+.1%} [{more.low:+.1%}, {more.high:+.1%}]"
        share = "" if row is first else f"{row.passes / first.passes:.1%}"
        shares = (sum(row.clean) / len(row.clean), row.robust)
        clean, robust = (f"{value:.1%}" for value in shares)
        spent = (f"{row.forwards:,}", f"{row.backwards:,}", f"{row.seconds:.0f}", share)
        cells = (row.case, str(len(row.left)), clean, row.version, robust, apart, *spent)
        written.append(f"| {' | '.join(cells)} |")
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose name holds this (all)")
    parser.add_argument("--versions", nargs="+", choices=VERSIONS, default=list(VERSIONS), help="all of them")
    parser.add_argument("--kept", type=Path, help="a file of rows: those in it are not measured again")
    options = parser.parse_args()

    torch.set_num_threads(1)
    kept = Kept(options.kept)
    print(HEAD, flush=True)
    for case in CASES:
        if options.only in case.name:
            rows = [kept.row(case, version) for version in options.versions]
            print("\n".join(lines(rows)), flush=True)


if __name__ == "__main__":
    main()
