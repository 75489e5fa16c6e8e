"""The trunk that both models are made of: a transformer over vectors [B,N,D], causal or not, with a cache.

Vaswani et al., "Attention Is All You Need" (arXiv:1706.03762), with what has become usual since: norms before each
part, positions by rotation (RoFormer, arXiv:2104.09864), and a norm that a condition shifts and scales where there is
one (VALL-E, arXiv:2301.02111, section 4.2.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class TransformerConfig:
    """Shape of a trunk.

    Attributes:
        width: D, of a vector.
        num_layers, num_heads: the heads share the width.
        inner_width: of the two linear layers behind each attention.
        dropout: share of values behind each part that training leaves out; not inside attention, whose fast forms have
            none.
    """

    width: int = 192
    num_layers: int = 4
    num_heads: int = 4
    inner_width: int = 768
    dropout: float = 0.0


@dataclass
class Cache:
    """Keys and values [B,H,N,D/H] of the places that a causal trunk has seen, one pair per layer."""

    layers: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def length(self) -> int:
        return self.layers[0][0].shape[2] if self.layers else 0


def rotation(places: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(cosine, sine) [N,size/2] that turn the halves of a head's vector at each place, int64 [N]."""
    speed = 10_000.0 ** (-torch.arange(0, size, 2, device=places.device) / size)
    angle = places[:, None] * speed
    return angle.cos(), angle.sin()


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """[B,H,N,size] with each pair of halves turned by the angle of its place."""
    first, second = x.chunk(2, dim=-1)
    cosine, sine = turn
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


class Norm(nn.Module):
    """Root-mean-square norm of [B,N,D]; a condition [B,D] shifts and scales it, where there is one."""

    def __init__(self, width: int, *, conditioned: bool) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.shape = nn.Linear(width, 2 * width) if conditioned else None
        if self.shape is not None:
            nn.init.zeros_(self.shape.weight)
            nn.init.zeros_(self.shape.bias)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        x = self.norm(x)
        if self.shape is None or condition is None:
            return x
        scale, shift = self.shape(condition)[:, None].chunk(2, dim=-1)
        return x * (1 + scale) + shift


class Attention(nn.Module):
    """Each place reads the places that it may see."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.to_all = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        seen: Tensor | None,
        *,
        causal: bool,
        past: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """[B,N,D], and the keys and values of these places behind those of `past`.

        Args:
            x: [B,N,D].
            turn: see `rotation`.
            seen: bool [B,1,1,N], the places that exist; None: all.
            causal: a place sees itself and what is before it.
            past: keys and values of earlier places.
        """
        shape = (*x.shape[:2], 3, self.num_heads, -1)
        query, key, value = self.to_all(x).view(shape).permute(2, 0, 3, 1, 4)
        query, key = rotate(query, turn), rotate(key, turn)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
            if causal and query.shape[2] > 1:
                place = torch.arange(key.shape[2], device=x.device)
                seen, causal = place <= place[-query.shape[2] :, None], False
        read = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=seen,
            is_causal=causal and query.shape[2] > 1,
        )
        return self.out(read.transpose(1, 2).flatten(2)), (key, value)


class Block(nn.Module):
    """Attention, then two linear layers at each place."""

    def __init__(self, config: TransformerConfig, *, conditioned: bool) -> None:
        super().__init__()
        self.before_attention = Norm(config.width, conditioned=conditioned)
        self.attention = Attention(config)
        self.before_inner = Norm(config.width, conditioned=conditioned)
        self.inner = nn.Sequential(
            nn.Linear(config.width, config.inner_width), nn.GELU(), nn.Linear(config.inner_width, config.width)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        seen: Tensor | None,
        *,
        causal: bool,
        condition: Tensor | None,
        past: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """As Attention; `condition` [B,D] is for the norms."""
        normed = self.before_attention(x, condition)
        read, pair = self.attention(normed, turn, seen, causal=causal, past=past)
        x = x + self.dropout(read)
        return x + self.dropout(self.inner(self.before_inner(x, condition))), pair


class Transformer(nn.Module):
    """Blocks one behind the other, and a norm at the end."""

    def __init__(self, config: TransformerConfig, *, conditioned: bool = False) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config, conditioned=conditioned) for _ in range(config.num_layers))
        self.norm = Norm(config.width, conditioned=conditioned)

    def forward(
        self,
        x: Tensor,
        *,
        lengths: Tensor | None = None,
        causal: bool = False,
        condition: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """[B,N,D] → [B,N,D].

        Args:
            x: what is at each place.
            lengths: int64 [B], of rows with padding on the right; None: all of N. A causal trunk needs none, as
                nothing before the padding sees it.
            causal: a place sees itself and what is before it.
            condition: [B,D], what the norms are shifted and scaled by.
            cache: of the places before x; x's are added to it. Only where causal.
        """
        start = cache.length if cache is not None else 0
        size = self.config.width // self.config.num_heads
        turn = rotation(torch.arange(start, start + x.shape[1], device=x.device), size)
        seen = None
        if lengths is not None and not causal:
            seen = (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[:, None, None]
        kept = []
        for number, block in enumerate(self.blocks):
            past = cache.layers[number] if cache is not None and cache.layers else None
            x, pair = block(x, turn, seen, causal=causal, condition=condition, past=past)
            kept.append(pair)
        if cache is not None:
            cache.layers = kept
        out: Tensor = self.norm(x, condition)
        return out


def joined(parts: Sequence[Tensor], lengths: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows of several parts put one behind the other without holes: ([B,N,…], lengths [B]).

    Args:
        parts: [B,Ni,…] each, padded on the right.
        lengths: int64 [B] of each.
    """
    total = torch.stack(list(lengths)).sum(dim=0)
    out = parts[0].new_zeros(len(total), int(total.max()), *parts[0].shape[2:])
    start = torch.zeros_like(total)
    for part, length in zip(parts, lengths, strict=True):
        row, place = torch.nonzero(torch.arange(part.shape[1], device=part.device) < length[:, None], as_tuple=True)
        out[row, start[row] + place] = part[row, place]
        start = start + length
    return out, total


def last_of(x: Tensor, ends: Tensor, lengths: Tensor) -> Tensor:
    """The last `lengths` [B] places before `ends` [B] of each row of [B,N,…], padded on the right with zeros."""
    most = int(lengths.max())
    place = torch.arange(most, device=x.device)
    row, column = torch.nonzero(place < lengths[:, None], as_tuple=True)
    out = x.new_zeros(len(x), most, *x.shape[2:])
    out[row, column] = x[row, (ends - lengths)[row] + column]
    return out


class TextReader(nn.Module):
    """Tokens with their language → vectors [B,S,D] that know their neighbours, to be read frame by frame."""

    def __init__(self, config: TransformerConfig, *, num_tokens: int, num_languages: int) -> None:
        super().__init__()
        self.token = nn.Embedding(num_tokens, config.width)
        self.language = nn.Embedding(num_languages, config.width)
        self.trunk = Transformer(config)

    def forward(self, text: Tensor, lengths: Tensor, languages: Tensor) -> Tensor:
        """int64 [B,S] with their lengths [B], and the language of each row [B]."""
        out: Tensor = self.trunk(self.token(text) + self.language(languages)[:, None], lengths=lengths)
        return out


def units_read(read: Tensor, units: Tensor, frame_units: Tensor) -> Tensor:
    """[B,T,D]: for each frame what was read of the token that it belongs to.

    Args:
        read: [B,S,D] of the tokens.
        units: int64 [B,U], the token of each unit.
        frame_units: int64 [B,T], the unit of each frame; below 0: padding.
    """
    token = units.gather(1, frame_units.clamp(min=0))
    return read.gather(1, token[..., None].expand(-1, -1, read.shape[-1]))


def small_weights(module: nn.Module) -> None:
    """What training starts from, for `Module.apply` (GPT-2)."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
