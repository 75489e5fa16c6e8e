"""The codecs that can be chosen, and their options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vall_e import config
from vall_e.emb.codecs.base import CheckedCodec, Codec
from vall_e.executor import devices
from vall_e.registry import Registry
from vall_e.types import BackendError, CodecSpec, UsageError

CHOOSING = ("audio_backend", "levels", "bit_width", "dtype")  # options that choose the codec

CODECS = Registry(
    "codec",
    "vall_e.codecs",
    {
        "encodec": "vall_e.emb.codecs.encodec:load",
        "encodec_48khz": "vall_e.emb.codecs.encodec_48khz:load",
        "vocos": "vall_e.emb.codecs.vocos:load",
        "dac": "vall_e.emb.codecs.dac:load",
        "dac_chunked": "vall_e.emb.codecs.dac:load",
        "dac_24khz": "vall_e.emb.codecs.dac:load",
        "dac_16khz": "vall_e.emb.codecs.dac:load",
        "funcodec": "vall_e.emb.codecs.funcodec:load",
        "tiny": "vall_e.emb.codecs.tiny:load",
    },
)


@dataclass(frozen=True, kw_only=True)
class CodecOptions:
    audio_backend: str = config.option(
        "encodec", f"the codec: {', '.join(CODECS)} (tiny is embedded), or one of an installed package"
    )
    weights: Path | None = config.option(None, "file or folder of weights, instead of the codec's own cache or hub")
    levels: int = config.option(8, "levels of codes to keep, coarse first")
    bit_width: int | None = config.option(None, "of funcodec: bits per second, instead of the number of levels")
    device: str = config.option("cpu", devices.HELP)
    dtype: str = config.option(
        "float32", "numbers that networks compute with", choices=("float32", "bfloat16", "float16")
    )

    def __post_init__(self) -> None:
        devices.check(self.device)


def load_codec(options: CodecOptions) -> Codec:
    """The codec, ready: one of CODECS, else one that an installed package offers.

    Example:
        >>> codec = load_codec(CodecOptions(audio_backend="tiny"))
        >>> codec.spec.sample_rate_hz, codec.spec.hop_samples
        (24000, 320)

    Raises:
        BackendError: its package or weights are missing or do not fit. UsageError: an unknown name, or a number of
            levels it has not.
    """
    if options.bit_width is not None and options.audio_backend != "funcodec":
        raise UsageError(f"{options.audio_backend}: --bit-width is for funcodec; choose --levels")
    factory = CODECS.load(options.audio_backend)
    codec = factory(options)
    if not isinstance(codec, Codec):
        what = "what its factory returns is no Codec; see docs/extending.md"
        raise BackendError(f"codec {options.audio_backend}: {what}")
    return CheckedCodec(codec)


def load_same_codec(
    spec: CodecSpec, process: Mapping[str, Any], where: str, *, device: str = "cpu", weights: Path | None = None
) -> Codec:
    """The codec of a dataset or model.

    Args:
        spec: the codec that it was made with.
        process: the options of `process` that it was made with.
        where: names it in an error.
        device: where it computes.
        weights: of the codec, where they are not its back end's own.

    Raises:
        UsageError: its weights are others now. BackendError: as `load_codec`.
    """
    chosen = {name: process[name] for name in CHOOSING if name in process}
    codec = load_codec(CodecOptions(weights=weights, device=device, **chosen))
    if codec.spec != spec:
        raise UsageError(f"{where}: made with other weights of the codec {spec.name}; give them with --weights")
    return codec
