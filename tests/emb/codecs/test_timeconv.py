"""Convolutions as products of rows against torch's own, and networks of them whole and block by block."""

from __future__ import annotations

import copy
from pathlib import Path

import codec_models
import funcodec_models
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vall_e.emb.codecs import dac_net, timeconv
from vall_e.emb.codecs import funcodec_net as net
from vall_e.emb.codecs.dac_net import Chain, DacConfig, DacWeights
from vall_e.emb.codecs.funcodec_config import read_config
from vall_e.emb.codecs.timeconv import LEAST_ROWS, Conv, ConvTranspose, fits

WHERE = {"dtype": torch.float64, "device": "cpu"}


def rows(batch: int, length: int, channels: int) -> Tensor:
    return torch.randn(batch, length, channels, generator=torch.Generator().manual_seed(length), dtype=torch.float64)


def torchs(module: nn.Module, x: Tensor) -> Tensor:
    """[B, T, C] → [B, T', C']."""
    found: Tensor = module(x.transpose(1, 2)).transpose(1, 2)
    return found.detach()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_convolution_is_torchs(data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, 4))
    kernel = stride * data.draw(st.integers(1, 3)) if stride > 1 else data.draw(st.integers(1, 7))
    dilation = data.draw(st.integers(1, 3)) if stride == 1 else 1
    channels, wide = data.draw(st.sampled_from([(1, 5), (3, 2), (8, 8), (12, 1)]))
    module = nn.Conv1d(
        channels, wide, kernel, stride, dilation=dilation, bias=data.draw(st.booleans()), dtype=torch.float64
    )
    conv = Conv(module, **WHERE)
    x = rows(data.draw(st.integers(1, 3)), conv.reach + data.draw(st.integers(0, 40)), channels)
    want = torchs(module, x)
    torch.testing.assert_close(conv(x), want)
    room = torch.full((len(x), want.shape[1] + 2, wide), 7.0, dtype=torch.float64)
    conv(x, room[:, 1:-1])
    torch.testing.assert_close(room[:, 1:-1], want)
    assert (room[:, [0, -1]] == 7.0).all()
    if kernel == 1:
        other = rows(*want.shape)
        torch.testing.assert_close(conv.plus(x, other), want + other)
        conv.plus(x, other, room[:, 1:-1])
        torch.testing.assert_close(room[:, 1:-1], want + other)
        torch.testing.assert_close(conv.plus(x, other, other), room[:, 1:-1])  # in place


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 30), st.sampled_from([(1, 3), (6, 4), (9, 1)]))
def test_a_transposed_convolution_is_torchs(stride: int, batch: int, length: int, channels: tuple[int, int]) -> None:
    module = nn.ConvTranspose1d(*channels, 2 * stride, stride, dtype=torch.float64)
    x = rows(batch, length, channels[0])
    from_zero = torch.cat([torch.zeros_like(x[:, :1]), x], 1)
    want = torchs(module, x)[:, : length * stride]
    torch.testing.assert_close(ConvTranspose(module, **WHERE)(from_zero), want)


def test_more_rows_than_a_block_holds() -> None:
    down = nn.Conv1d(300, 200, 4, 2, dtype=torch.float64)
    up = nn.ConvTranspose1d(300, 200, 4, 2, dtype=torch.float64)
    x = rows(1, 5 * LEAST_ROWS + 1, 300)
    torch.testing.assert_close(Conv(down, **WHERE)(x), torchs(down, x))
    x[:, 0] = 0.0
    torch.testing.assert_close(ConvTranspose(up, **WHERE)(x), torchs(up, x[:, 1:])[:, : 2 * (x.shape[1] - 1)])


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv1d(4, 4, 3, 2),
        nn.Conv1d(4, 4, 4, 2, dilation=2),
        nn.Conv1d(4, 4, 3, groups=2),
        nn.Conv1d(4, 4, 3, padding=1),
        nn.ConvTranspose1d(4, 4, 3, 2),
        nn.ConvTranspose1d(4, 4, 4, 2, padding=1),
        nn.Conv2d(4, 4, 3),
    ],
)
def test_what_does_not_fit_is_refused(module: nn.Module) -> None:
    assert not fits(module)
    kind = ConvTranspose if isinstance(module, nn.ConvTranspose1d) else Conv
    with pytest.raises(ValueError, match="that these networks have"):
        kind(module, **WHERE)  # type: ignore[arg-type]


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_dacs_networks_give_the_same_block_by_block(batch: int, padded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DacConfig.from_kwargs(codec_models.dac_config(16_000))
    torch.manual_seed(0)
    weights = DacWeights(config).eval().requires_grad_(False)
    encoder, decoder = (Chain(part, **WHERE) for part in (weights.encoder.block, weights.decoder.model))
    x = rows(batch, 60 * config.hop, 1)
    latents = encoder(x, padded=padded)
    sound = decoder(latents, padded=padded)
    assert sound.numel()
    for module in (timeconv, dac_net):
        monkeypatch.setattr(module, "LEAST_ROWS", 5)
        monkeypatch.setattr(module, "rows_per_block", lambda channels, device: 7 + 4096 // channels)
    torch.testing.assert_close(encoder(x, padded=padded), latents)
    torch.testing.assert_close(decoder(latents, padded=padded), sound)


def _groups(layers: nn.Module) -> int:
    return sum(part.groups for part in layers.modules() if isinstance(part, nn.Conv2d))


@pytest.mark.parametrize("kind", funcodec_models.KINDS)
def test_funcodecs_networks_are_prepared_without_changing_what_they_give(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(funcodec_models.config(kind)))
    model = read_config(path)
    torch.manual_seed(0)
    for layers, start in ((net.encoder(model.encoder), model.encoder), (net.decoder(model.decoder), None)):
        plain = layers.eval().requires_grad_(False)
        fast = copy.deepcopy(plain)
        assert net.prepare(fast) == (kind in funcodec_models.SEANET_KINDS)
        if kind == "mag_phase":
            assert _groups(fast) < _groups(plain)  # else nothing is proved here
        for length in (1, 7, 40):
            if start is None:
                x = rows(1, length, model.decoder.input_size).transpose(1, 2)
            elif model.n_fft:
                x = rows(model.encoder.input_size, model.n_fft // 2 + 1, length)[None]
            else:
                x = rows(1, length * model.encoder.hop - 3, 1).transpose(1, 2)
            want = got = x.float()
            for slow, quick in zip(plain, fast, strict=True):
                want, got = slow(want), quick(got)
            torch.testing.assert_close(got, want, rtol=0.0, atol=1e-5 * float(want.abs().max()))
