"""The trunk that both models are made of: a transformer over vectors [B,N,D], causal or not, with a cache.

Vaswani et al., "Attention Is All You Need" (arXiv:1706.03762), with what has become usual since: norms before each
part, positions by rotation (RoFormer, arXiv:2104.09864), and a norm that a condition shifts and scales where there is
one (VALL-E, arXiv:2301.02111, section 4.2.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


class Cache:
    """Keys and values [B,H,N,D/H] of the `length` places that a causal trunk has seen, one pair per layer."""

    def __init__(self) -> None:
        self.length = 0
        self._layers: list[tuple[Tensor, Tensor]] = []  # with room for further places

    def add(self, number: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Puts those of new places behind the others of layer `number` → all of them, as views."""
        end = self.length + key.shape[2]
        if number == len(self._layers):
            self._layers.append((key[:, :, :0], value[:, :, :0]))
        if end > self._layers[number][0].shape[2]:
            grown = [part.new_empty(*part.shape[:2], 2 * end, part.shape[3]) for part in (key, value)]
            for new, old in zip(grown, self._layers[number], strict=True):
                new[:, :, : self.length] = old[:, :, : self.length]
            self._layers[number] = (grown[0], grown[1])
        all_keys, all_values = (part[:, :, :end] for part in self._layers[number])
        all_keys[:, :, self.length :], all_values[:, :, self.length :] = key, value
        return all_keys, all_values

    def keep(self, rows: Tensor) -> None:
        """Only these items, int64 [N]."""
        self._layers = [(key[rows], value[rows]) for key, value in self._layers]


def rotation(places: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(cosine, sine) float64 [N,size/2] that turn the halves of a head's vector at each place, int64 [N]."""
    speed = 10_000.0 ** (-torch.arange(0, size, 2, device=places.device, dtype=torch.float64) / size)
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
        cache: Cache | None,
        number: int,
    ) -> Tensor:
        """[B,N,D].

        Args:
            x: [B,N,D].
            turn: see `rotation`.
            seen: bool, to be spread over [B,1,N,M]: which of all M places each place sees; None: all.
            causal: without `seen`, a place sees itself and what is before it.
            cache: of earlier places.
            number: of this layer.
        """
        shape = (*x.shape[:2], 3, self.num_heads, -1)
        query, key, value = self.to_all(x).view(shape).permute(2, 0, 3, 1, 4)
        query, key = rotate(query, turn), rotate(key, turn)
        if cache is not None:
            key, value = cache.add(number, key, value)
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=seen, is_causal=causal)
        out: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return out


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
        cache: Cache | None,
        number: int,
    ) -> Tensor:
        """As Attention; `condition` [B,D] is for the norms."""
        normed = self.before_attention(x, condition)
        x = x + self.dropout(self.attention(normed, turn, seen, causal=causal, cache=cache, number=number))
        return x + self.dropout(self.inner(self.before_inner(x, condition)))


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
        starts: Tensor | None = None,
    ) -> Tensor:
        """[B,N,D] → [B,N,D].

        Args:
            x: what is at each place.
            lengths: int64 [B], of rows with padding on the right; None: all of N. A causal trunk needs none, as
                nothing before the padding sees it.
            causal: a place sees itself and what is before it.
            condition: [B,D], what the norms are shifted and scaled by.
            cache: of the places before x; x's are added to it. Only where causal.
            starts: int64 [B], of rows with padding on the left, where each begins; None: none has. Only where causal.
        """
        before = cache.length if cache is not None else 0
        place = torch.arange(before + x.shape[1], device=x.device)
        size = self.config.width // self.config.num_heads
        cosine, sine = rotation(place[before:], size)
        turn = (cosine.to(x.dtype), sine.to(x.dtype))
        seen = None
        if lengths is not None and not causal:
            seen = (place < lengths[:, None])[:, None, None]
        if causal and (starts is not None or (before and x.shape[1] > 1)):
            own = place[before:, None]
            seen = place <= own
            if starts is not None:  # padding sees itself: of nothing there is no mean
                seen = (seen & (place >= starts[:, None, None]) | (place == own))[:, None]
        is_causal = causal and seen is None and x.shape[1] > 1
        for number, block in enumerate(self.blocks):
            x = block(x, turn, seen, causal=is_causal, condition=condition, cache=cache, number=number)
        if cache is not None:
            cache.length += x.shape[1]
        out: Tensor = self.norm(x, condition)
        return out


class Run:
    """A causal trunk fed piece by piece → what it gives at the last place of each row, [B,D].

    Rows end together: those that are shorter begin later, at `starts` [B].
    """

    def __init__(self, trunk: Transformer, starts: Tensor, *, use_cache: bool) -> None:
        self.trunk, self.cache = trunk, Cache() if use_cache else None
        self.starts = starts if bool(starts.any()) else None
        self.seen: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        if self.cache is None:
            self.seen.append(x)
            x = torch.cat(self.seen, dim=1)
        out: Tensor = self.trunk(x, causal=True, cache=self.cache, starts=self.starts)[:, -1]
        return out

    def keep(self, active: list[int], rows: list[int]) -> list[int]:
        """Keeps these rows only → the numbers of `active` that they are."""
        if len(rows) < len(active):
            chosen = torch.tensor(rows, dtype=torch.int64)
            self.starts = None if self.starts is None else self.starts[chosen]
            self.seen = [x[chosen] for x in self.seen]
            if self.cache is not None:
                self.cache.keep(chosen)
        return [active[row] for row in rows]


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


def right_aligned(x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """[B,N,…] padded on the right → padded on the left, and where each row begins, [B]."""
    starts = x.shape[1] - lengths
    place = torch.arange(x.shape[1], device=x.device)
    row, column = torch.nonzero(place < lengths[:, None], as_tuple=True)
    out = torch.zeros_like(x)
    out[row, starts[row] + column] = x[row, column]
    return out, starts


def beside(x: Tensor, lengths: Tensor, num_frames: int) -> Tensor:
    """[B,T,D]: of [B,N,D] with lengths [B] what stands at the place of each of T frames; zeros behind its end."""
    kept = x[:, :num_frames] * (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[:, :num_frames, None]
    return F.pad(kept, (0, 0, 0, num_frames - kept.shape[1]))


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


class DualHead(nn.Module):
    """Scores of codes [N,D] → [N,C], or [N,C+1] with an edge: the high half of their bits, then the low half given it.

    Two small outputs in place of one of C (Kalchbrenner et al., arXiv:1802.08435, section 2); the halves are those of
    `vall_e.emb.qnt.split_bits`. The scores are logarithms of probabilities.
    """

    def __init__(self, width: int, codebook_size: int, *, has_edge: bool) -> None:
        super().__init__()
        bits = (codebook_size - 1).bit_length()
        if codebook_size != 1 << bits or bits < 2:
            raise ValueError(f"a dual head takes a codebook of a power of two, not {codebook_size}")
        num_fine, self.has_edge = 1 << bits // 2, has_edge
        num_coarse = codebook_size // num_fine
        self.to_coarse = nn.Linear(width, num_coarse + has_edge)
        self.coarse = nn.Embedding(num_coarse, width)
        self.to_fine = nn.Linear(width, num_fine)

    def forward(self, x: Tensor) -> Tensor:
        """[…,D] → […,C] or […,C+1], the edge last."""
        coarse = self.to_coarse(x).log_softmax(dim=-1)
        fine = self.to_fine(F.gelu(x[..., None, :] + self.coarse.weight)).log_softmax(dim=-1)
        codes = (coarse[..., : fine.shape[-2], None] + fine).flatten(-2)
        return torch.cat([codes, coarse[..., -1:]], dim=-1) if self.has_edge else codes


def head(width: int, codebook_size: int, *, dual: bool, has_edge: bool) -> nn.Module:
    """Scores of codes, and of an edge behind them: by one linear layer, or by two halves of the code."""
    if dual:
        return DualHead(width, codebook_size, has_edge=has_edge)
    return nn.Linear(width, codebook_size + has_edge)


def hits(scores: Tensor, targets: Tensor, level: int) -> dict[str, Tensor]:
    """Of scores [N,C] and right codes [N] of a level: how many are the best one, among the ten best, and all."""
    better = (scores > scores.gather(1, targets[:, None])).sum(dim=1)
    counts = {"top1": better < 1, "top10": better < 10, "count": better >= 0}
    return {f"level_{level}_{name}": found.sum() for name, found in counts.items()}


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
