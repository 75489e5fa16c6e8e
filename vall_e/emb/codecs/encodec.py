"""EnCodec 24 kHz (Défossez et al. 2022, https://arxiv.org/abs/2210.13438) with the `encodec` package's layers.

1.5, 3, 6, 12 and 24 kbps are 2, 4, 8, 16 and 32 levels of 1024 entries at 75 frames/s. The layers run piece by piece
with their state carried (`_seanet`), so three hours take the memory of a second; the nearest entry is searched exactly,
as the package's float32 formula cancels (`_rvq`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vall_e.emb.codecs import checkpoints
from vall_e.emb.codecs.registry import CodecOptions
from vall_e.executor import devices
from vall_e.types import CodecSpec

if TYPE_CHECKING:
    import torch

    from vall_e.emb.codecs.seanet import Stream

CHECKPOINT = "encodec_24khz-d7cc33bc.th"
MAX_LEVELS = 32
HOP = 320
PENDING_FRAMES = 1024  # quantised at once: enough that the calls cost nothing beside the work


class EncodecCodec:
    """Causal: right padding is free. Items of any lengths share a batch; on a CPU no bit depends on the company."""


    def __init__(
        self, *, weights: Path | None = None, num_levels: int = 8, device: str = "cpu", dtype: str = "float32"
    ) -> None:
        """Load the weights: a file, else torch hub's cache, else Meta's server.

        Raises:
            BackendError: package or weights are missing or do not fit. UsageError: levels or dtype it has not.
        """
        checkpoints.check_levels("encodec", num_levels, MAX_LEVELS, " (8 are 6 kbps)")
        model, path = load_model("encodec", "encodec_model_24khz", "EnCodec 24 kHz", CHECKPOINT, weights)
        self._dtype = checkpoints.place("encodec", device, dtype)
        import torch

        from vall_e.emb.codecs.seanet import Seanet, Stream

        self._codebooks = torch.stack([layer._codebook.embed for layer in model.quantizer.vq.layers[:num_levels]])
        self._codebooks = self._codebooks.to(device)
        encoder, decoder = (Seanet(part, dtype=self._dtype, device=device) for part in (model.encoder, model.decoder))
        self._encoder = Stream(encoder, in_rows=HOP)
        self._decoder = Stream(decoder, in_rows=1)
        self._device = device
        self.spec = CodecSpec(
            name="encodec",
            weights_sha256=checkpoints.digest(path),
            sample_rate_hz=24_000,
            hop_samples=HOP,
            num_levels=num_levels,
            codebook_size=1024,
        )

    def encode(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [n] each, n ≥ 1 → uint16 [K, ceil(n / 320)] each."""
        lengths = [len(samples) for samples in audio]
        codes = [np.zeros((self.spec.num_levels, self.spec.num_frames(length)), np.uint16) for length in lengths]
        waiting: list[tuple[int, int, torch.Tensor]] = []  # (item, first frame, latents)
        for item, start, latents in self._run(self._encoder, [self._samples(samples) for samples in audio], lengths):
            waiting.append((item, start, latents))
            if sum(len(part) for _, _, part in waiting) >= PENDING_FRAMES:
                self._quantize(waiting, codes)
        self._quantize(waiting, codes)
        return codes

    def scales(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Nothing is normalised: float32 [0] each."""
        return [np.zeros(0, np.float32) for _ in audio]

    def decode(self, codes: Sequence[np.ndarray], scales: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """[K,T] each → float32 [320 · T] each."""
        audio = [np.zeros(item.shape[1] * HOP, np.float32) for item in codes]
        lengths = [item.shape[1] for item in codes]
        for item, start, samples in self._run(self._decoder, [self._frames(item) for item in codes], lengths):
            audio[item][start : start + len(samples)] = samples[:, 0].float().cpu().numpy()
        return audio

    def _samples(self, audio: np.ndarray) -> Callable[[int, int], torch.Tensor]:
        import torch

        def piece(start: int, stop: int) -> torch.Tensor:
            samples = np.ascontiguousarray(audio[start:stop], dtype=np.float32)
            return torch.from_numpy(samples)[:, None].to(self._device, self._dtype)

        return piece

    def _frames(self, codes: np.ndarray) -> Callable[[int, int], torch.Tensor]:
        import torch

        from vall_e.emb.codecs.rvq import dequantize

        def piece(start: int, stop: int) -> torch.Tensor:
            indices = torch.from_numpy(codes[:, start:stop].astype(np.int64)).to(self._device)
            return dequantize(indices, self._codebooks).to(self._dtype)

        return piece

    def _run(
        self, stream: Stream, items: Sequence[Callable[[int, int], torch.Tensor]], lengths: Sequence[int]
    ) -> Iterator[tuple[int, int, torch.Tensor]]:
        """(item, first row, rows) of all items, those of like length side by side."""
        import torch

        if 0 in lengths:
            raise ValueError("an item without a single sample or frame")
        order = sorted(range(len(items)), key=lambda index: -lengths[index])
        done = [0] * len(items)
        with torch.inference_mode():
            for first in range(0, len(order), stream.lanes):
                group = order[first : first + stream.lanes]
                for rows in stream([items[index] for index in group], [lengths[index] for index in group]):
                    for index, part in zip(group, rows, strict=False):  # those that have ended give none
                        yield index, done[index], part
                        done[index] += len(part)

    def _quantize(self, waiting: list[tuple[int, int, torch.Tensor]], codes: list[np.ndarray]) -> None:
        """Codes of all latents that wait, put where they belong; nothing waits afterwards."""
        import torch

        from vall_e.emb.codecs.rvq import quantize

        if not waiting:
            return
        with torch.inference_mode():
            found = quantize(torch.cat([latents for _, _, latents in waiting]), self._codebooks).cpu().numpy()
        for item, start, latents in waiting:
            codes[item][:, start : start + len(latents)] = found[:, : len(latents)]
            found = found[:, len(latents) :]
        waiting.clear()


def load_model(codec: str, factory: str, title: str, checkpoint: str, weights: Path | None) -> tuple[Any, Path]:
    """(the package's model, the file its weights are from).

    Raises:
        BackendError: package or weights are missing or do not fit.
    """
    checkpoints.require(codec, package="encodec", extra="encodec")
    import torch

    from vall_e.compat import install_shim

    install_shim()
    from encodec.model import ROOT_URL, EncodecModel

    cached = Path(torch.hub.get_dir()) / "checkpoints" / checkpoint
    prefix = cached.stem.rpartition("-")[2]
    path = weights or checkpoints.fetched(codec, cached, ROOT_URL + checkpoint, hash_prefix=prefix)
    state = checkpoints.read(codec, path)
    with warnings.catch_warnings():  # the package builds on torch's older weight norm, which says so at each layer
        warnings.simplefilter("ignore", FutureWarning)
        model = getattr(EncodecModel, factory)(pretrained=False)
    checkpoints.fill(codec, title, model, state, path)
    return model.eval().requires_grad_(False), path


def load(options: CodecOptions) -> EncodecCodec:
    return EncodecCodec(
        weights=options.weights,
        num_levels=options.levels,
        device=devices.kind_of(options.device),
        dtype=options.dtype,
    )
