"""Gates decide hard, and are differentiated as a smooth step."""

from __future__ import annotations

import torch

from secondlook.attacks.base import differentiate
from secondlook.defenses.test_time.gates import gated, soft_gate


def test_a_gate_is_hard_and_its_gradient_soft() -> None:
    over = torch.tensor([-0.01, 0.0, 0.01], requires_grad=True)
    inside, outside = torch.tensor([[1.0, 3.0]]).expand(3, 2), torch.tensor([[0.1, 0.7]]).expand(3, 2)
    gate = soft_gate(over)
    assert gate.tolist() == [0.0, 0.0, 1.0]
    found = gated(gate, inside, outside)
    assert torch.equal(found, torch.stack([outside[0], outside[0], inside[0]]))
    wanted = torch.sigmoid(over / 0.02) * torch.sigmoid(-over / 0.02) / 0.02 * 3.2
    assert torch.allclose(differentiate(found.sum(1), over), wanted.detach(), rtol=1e-4)
