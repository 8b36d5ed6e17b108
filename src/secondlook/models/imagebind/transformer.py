"""The trunk of every modality: pre-norm transformer blocks (arXiv 2010.11929)."""

from __future__ import annotations

from torch import Tensor, nn

EPS = 1e-6
"""Of every layer norm but those of the stems."""


class Mlp(nn.Module):
    """Four times as wide inside, with an exact GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class Block(nn.Module):
    """Attention, then an MLP; ``bias_kv`` adds one learned key and value to the sequence."""

    def __init__(self, width: int, heads: int, bias_kv: bool) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, add_bias_kv=bias_kv, batch_first=True)
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        seen = self.norm_1(x)
        mixed, _ = self.attn(seen, seen, seen, need_weights=False, attn_mask=mask)
        x = x + mixed
        out: Tensor = x + self.mlp(self.norm_2(x))
        return out


class Trunk(nn.Module):
    """``[B, L, D] -> [B, L, D]``; ``mask`` ``[L, L]`` is added to the attention's scores."""

    def __init__(
        self, width: int, blocks: int, heads: int, *, bias_kv: bool = False, pre_norm: bool = False
    ) -> None:
        super().__init__()
        first = nn.LayerNorm(width, eps=EPS) if pre_norm else nn.Identity()
        self.pre_transformer_layer = nn.Sequential(first)
        self.blocks = nn.ModuleList(Block(width, heads, bias_kv) for _ in range(blocks))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.pre_transformer_layer(x)
        for block in self.blocks:
            x = block(x, mask)
        return x
