"""The residual quantiser against a slow and obvious reference."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vall_e.emb.codecs.rvq import dequantize, quantize


def reference(x: np.ndarray, codebooks: np.ndarray) -> np.ndarray:
    """float32 [N, D], [K, C, D] -> int64 [K, N]: every distance in float64, the first minimum wins."""
    codes = np.zeros((len(codebooks), len(x)), np.int64)
    for n, frame in enumerate(x):
        residual = frame
        for k, codebook in enumerate(codebooks):
            distances = [
                float(((residual.astype(np.float64) - entry) ** 2).sum()) for entry in codebook.astype(np.float64)
            ]
            codes[k, n] = distances.index(min(distances))
            residual = residual - codebook[codes[k, n]]
    return codes


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Frames and codebooks on a coarse grid: sums are exact, and ties and repeated entries are common."""
    frames, width, levels, size = (draw(st.integers(1, most)) for most in (6, 5, 4, 12))
    grid = st.integers(-8, 8).map(lambda number: number / 4)
    x = draw(arrays(np.float32, (frames, width), elements=grid))
    return x, draw(arrays(np.float32, (levels, size, width), elements=grid))


@settings(max_examples=200, deadline=None)
@given(problems())
def test_equals_the_reference_ties_and_copies_included(problem: tuple[np.ndarray, np.ndarray]) -> None:
    x, codebooks = problem
    codes = quantize(torch.from_numpy(x), torch.from_numpy(codebooks))
    assert codes.dtype == torch.int64
    np.testing.assert_array_equal(codes.numpy(), reference(x, codebooks))


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
def test_equals_the_reference_where_float32_distances_cancel(offset: float) -> None:
    rng = np.random.default_rng(7)
    codebooks = rng.standard_normal((3, 64, 16)).astype(np.float32)
    codebooks[0] += np.float32(offset)
    x = (rng.standard_normal((40, 16)) + offset).astype(np.float32)
    np.testing.assert_array_equal(
        quantize(torch.from_numpy(x), torch.from_numpy(codebooks)).numpy(), reference(x, codebooks)
    )


def test_float32_distances_alone_would_be_wrong_there() -> None:
    """Guards the test above: its data does defeat the expanded distance."""
    rng = np.random.default_rng(7)
    codebook = torch.from_numpy((rng.standard_normal((64, 16)) + 1e4).astype(np.float32))
    x = torch.from_numpy((rng.standard_normal((40, 16)) + 1e4).astype(np.float32))
    rough = (codebook.square().sum(1) - 2 * x @ codebook.T).argmin(1)
    assert (rough != quantize(x, codebook[None])[0]).any()


def test_an_empty_codebook_start_gives_the_first_entry() -> None:
    codes = quantize(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 1024, 8))
    assert codes.tolist() == [[0] * 50] * 2


def test_codes_do_not_depend_on_the_batch() -> None:
    generator = torch.Generator().manual_seed(1)
    x, codebooks = torch.randn(9000, 24, generator=generator), torch.randn(3, 128, 24, generator=generator)
    whole = quantize(x, codebooks)
    parts = torch.cat([quantize(part, codebooks) for part in x.split([1, 17, 982, 8000])], dim=1)
    assert torch.equal(whole, parts)


@settings(max_examples=50, deadline=None)
@given(problems())
def test_every_level_comes_no_further_from_the_frame_than_entry_zero_would(
    problem: tuple[np.ndarray, np.ndarray],
) -> None:
    x, codebooks = (torch.from_numpy(array) for array in problem)
    codes = quantize(x, codebooks)
    for level in range(len(codebooks)):
        before = x - (dequantize(codes[:level], codebooks) if level else 0)
        after = before - codebooks[level][codes[level]]
        assert (after.norm(dim=1) <= (before - codebooks[level][0]).norm(dim=1) + 1e-5).all()


def test_dequantize_sums_the_levels_that_are_there() -> None:
    codebooks = torch.arange(12.0).reshape(2, 3, 2)
    assert dequantize(torch.tensor([[0, 2]]), codebooks).tolist() == [[0.0, 1.0], [4.0, 5.0]]
    assert dequantize(torch.tensor([[0, 2], [1, 0]]), codebooks).tolist() == [[8.0, 10.0], [10.0, 12.0]]


def test_no_frames_give_no_codes_and_no_latents() -> None:
    codes = quantize(torch.zeros(0, 4), torch.ones(3, 5, 4))
    assert codes.shape == (3, 0)
    assert dequantize(codes, torch.ones(3, 5, 4)).shape == (0, 4)


def test_quantize_refuses_frames_of_another_width() -> None:
    with pytest.raises(ValueError, match=r"\[4, 3\]"):
        quantize(torch.zeros(4, 3), torch.zeros(1, 2, 5))
