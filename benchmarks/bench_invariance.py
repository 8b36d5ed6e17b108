"""Whether batch size and order change anything: draws bit for bit, outcomes but for float noise."""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from secondlook import AlignEmbedding, Consensus, Guarded, GuardedObjective, Illusion, Keys, Threat, ZeroShot, load
from secondlook.data import load as load_data


def outcomes(order: list[int], batch: int, steps: int) -> dict[int, tuple[int, Tensor]]:
    """The answer of consensus to each attacked sample, and the sample's first random draw."""
    source = load_data("scenes:test")
    model = ZeroShot(load("scenes:clip"), source.classes, source.prompt)
    guarded = Guarded(model, Consensus(purifier="scenes:vae"))
    found: dict[int, tuple[int, Tensor]] = {}
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        x, truth = source.read(rows, (64, 64))
        target, keys = (truth + 7) % 64, Keys.of(0, [source.ids[row] for row in rows])
        goal = AlignEmbedding(vectors=model.class_features(target), classes=target)
        objective = GuardedObjective(goal=goal, victim=Guarded(model))
        attacked = Illusion(steps=steps)(objective, x, Threat(eps=8 / 255), keys.fold("attack"))
        answers = guarded.decide(attacked.x, keys.fold("decide")).answer
        draws = keys.fold("decide").repeat(1).normal((16,))
        found |= {r: (int(a), d) for r, a, d in zip(rows, answers, draws, strict=True)}
    return found


def main() -> None:
    """Compares batches of 16 and of 128, and a shuffled order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    rows = list(range(options.samples))
    shuffled = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1)).tolist()
    base = outcomes(rows, 128, options.steps)
    for name, order, batch in (("batch 16", rows, 16), ("shuffled", shuffled, 128)):
        other = outcomes(order, batch, options.steps)
        same = sum(base[row][0] == other[row][0] for row in rows)
        draws = all(torch.equal(base[row][1], other[row][1]) for row in rows)
        print(f"{name} against batch 128: outcomes agree {same}/{len(rows)}, draws equal: {draws}")


if __name__ == "__main__":
    main()
