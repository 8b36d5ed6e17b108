"""What each study of the package takes at most, in gradients of ``scenes:clip``, for ``secondlook studies``.

``python -m experiments.study_costs [NAME ...]`` measures the studies that are named, else all, and keeps
what is known of the others. A study whose models are not on this machine is left as it is, and said.
"""

import json
import sys

from secondlook.audit.estimate import stored, unit, whole
from secondlook.audit.plan import plan
from secondlook.audit.study import read, shipped, shipped_at
from secondlook.errors import SecondlookError
from secondlook.progress import silent


def main(names: list[str]) -> None:
    """Measures, and writes ``costs.json`` beside the studies after each."""
    for name in names or [*shipped()]:
        try:
            made, before = plan(read(name)), unit()
            seconds, each = whole(made, silent), (before + unit()) / 2
        except SecondlookError as error:
            print(f"{name}: {error}")
            continue
        print(f"{name}: {seconds:.0f} s, {seconds / each:.0f} gradients of {1000 * each:.2f} ms", flush=True)
        costs = {**stored(), name: round(seconds / each)}
        text = json.dumps({key: costs[key] for key in sorted(costs) if key in shipped()}, indent=1)
        (shipped_at() / "costs.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
