"""What FunCodec's `config.yaml` says of a model, checked: only what this back end builds is let through.

The keys and their defaults are those of the published package (https://github.com/modelscope/FunCodec). Training keys
(optimisers, discriminators, losses) are passed over; an unknown key of the network is an error, as it would change it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vall_e.types import BackendError

TIME_CLASSES = ("encodec_seanet_encoder", "encodec_seanet_decoder")
FREQ_CLASSES = ("encodec_seanet_encoder_2d", "encodec_seanet_decoder_2d")
DOMAIN_CHANNELS = {"mag_angle": 2, "mag_phase": 3}  # what the network sees of a spectrum


@dataclass(frozen=True, kw_only=True)
class Seanet:
    """One SEANet encoder or decoder. `ratios` are (frequency, time) pairs, frequency 1 in the time domain."""

    input_size: int = 1
    channels: int = 1
    dimension: int = 128
    n_filters: int = 32
    n_residual_layers: int = 1
    ratios: tuple[tuple[int, int], ...] = ()
    activation: str = "ELU"
    alpha: float = 1.0
    norm: str = "weight_norm"
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    dilation_base: int = 2
    causal: bool = False
    pad_mode: str = "reflect"
    true_skip: bool = False
    compress: int = 2
    seq_model: str = "lstm"
    seq_layer_num: int = 2
    res_seq: bool = True
    double_filters: bool = True  # `half_filters` in a decoder
    trim_right_ratio: float = 1.0
    conv_group_ratio: int = -1
    tr_conv_group_ratio: int = -1
    is_2d: bool = False

    @property
    def hop(self) -> int:
        """Steps of the input for each frame."""
        return math.prod(time for _, time in self.ratios)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A codec. `domain` is time, mag_angle or mag_phase; `n_fft` and `stft_hop` are 0 in the time domain."""

    encoder: Seanet
    decoder: Seanet
    sample_rate_hz: int
    num_levels: int
    codebook_size: int
    code_dim: int
    projected: bool  # codes live in a space of their own, reached by linear maps
    code_range: float | None  # bound of the codes' space, through tanh
    first_level_halved: bool  # the first level codes at half the frame rate
    normalize: bool
    domain: str = "time"
    n_fft: int = 0
    stft_hop: int = 0
    chunk_samples: int = 0
    stride_samples: int = 0

    @property
    def hop_samples(self) -> int:
        return self.encoder.hop * (self.stft_hop or 1)

    @property
    def frames_per_s(self) -> float:
        return self.sample_rate_hz / self.hop_samples

    @property
    def bits_per_level(self) -> float:
        """Bits per second of one level."""
        return math.log2(self.codebook_size) * self.sample_rate_hz / self.hop_samples


def read_config(path: Path) -> Model:
    """The model that `path` describes.

    Raises:
        BackendError: not such a file, or a network that is not built here; names the file and the key.
    """
    import yaml

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise BackendError(f"funcodec: {path} can't be read as YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(config, dict):
        raise BackendError(f"funcodec: {path} is not a config of FunCodec: expected keys and values")
    try:
        return _model(config)
    except _Wrong as error:
        raise BackendError(f"funcodec: {path}: {error}") from None


class _Wrong(Exception):
    pass


def _model(config: Mapping[str, Any]) -> Model:
    kind = _choice(config, "model", "encodec", ("encodec", "freq_codec"))
    _choice(config, "quantizer", "costume_quantizer", ("costume_quantizer",))
    is_2d = kind == "freq_codec"
    encoder_class, decoder_class = FREQ_CLASSES if is_2d else TIME_CLASSES
    _choice(config, "encoder", TIME_CLASSES[0], (encoder_class,))
    _choice(config, "decoder", TIME_CLASSES[1], (decoder_class,))
    section = _section(config, "model_conf")
    domain, n_fft, stft_hop = _domain(section, is_2d)
    quantizer = _section(config, "quantizer_conf")
    encoder = _seanet(_section(config, "encoder_conf"), "encoder_conf", is_2d, _whole(config, "input_size", None))
    code_width = encoder.dimension
    code_dim = quantizer.get("codec_dim") or code_width
    decoder = _seanet(_section(config, "decoder_conf"), "decoder_conf", is_2d, code_width)
    if encoder.hop != decoder.hop:
        raise _Wrong(f"the encoder's ratios give {encoder.hop} steps per frame, the decoder's {decoder.hop}")
    if is_2d and {encoder.input_size, decoder.channels} != {DOMAIN_CHANNELS[domain]}:
        raise _Wrong(f"{domain} has {DOMAIN_CHANNELS[domain]} channels, input_size and decoder channels differ")
    rate_hz = _whole(section, "target_sample_hz", 24_000)
    chunk, stride = _chunks(section, rate_hz)
    return Model(
        encoder=encoder,
        decoder=decoder,
        sample_rate_hz=rate_hz,
        num_levels=_whole(quantizer, "num_quantizers", 8),
        codebook_size=_whole(quantizer, "codebook_size", 1024),
        code_dim=code_dim,
        projected=code_dim != code_width,
        code_range=quantizer.get("codec_range"),
        first_level_halved=_whole(quantizer, "q0_ds_ratio", 1) > 1,
        normalize=bool(section.get("audio_normalize", not is_2d)),
        domain=domain,
        n_fft=n_fft,
        stft_hop=stft_hop,
        chunk_samples=chunk,
        stride_samples=stride,
    )


def _domain(section: Mapping[str, Any], is_2d: bool) -> tuple[str, int, int]:
    """(domain, n_fft, hop of the spectrum)."""
    if section.get("bypass_quantizer"):
        raise _Wrong("model_conf: bypass_quantizer is set, so the model has no codes")
    found = section.get("codec_domain", ("time", "time") if is_2d else "time")
    if not is_2d:
        if found != "time":
            raise _Wrong(f"model_conf: codec_domain {found!r} of the model encodec is not supported; known: time")
        return "time", 0, 0
    known = sorted(DOMAIN_CHANNELS)
    if not isinstance(found, list | tuple) or len(set(found)) != 1 or found[0] not in DOMAIN_CHANNELS:
        raise _Wrong(f"model_conf: codec_domain {found!r} is not supported; known, twice each: {', '.join(known)}")
    conf = _section(section, "domain_conf")
    return found[0], _whole(conf, "n_fft", 512), _whole(conf, "hop_length", 160)


def _chunks(section: Mapping[str, Any], rate_hz: int) -> tuple[int, int]:
    """(chunk, stride) in samples; 0 where the whole item is coded at once."""
    duration_s, overlap = section.get("segment_dur", 1.0), section.get("overlap_ratio", 0.01)
    if duration_s is None:
        return 0, 0
    if not isinstance(duration_s, int | float) or not isinstance(overlap, int | float) or not 0 <= overlap < 1:
        raise _Wrong(f"model_conf: segment_dur {duration_s!r} with overlap_ratio {overlap!r}")
    chunk = int(duration_s * rate_hz)
    return chunk, max(1, int((1 - overlap) * chunk))


def _seanet(section: Mapping[str, Any], where: str, is_2d: bool, input_size: int) -> Seanet:
    values = dict(section) | {"input_size": input_size, "is_2d": is_2d}
    values["ratios"] = _ratios(values.get("ratios"), is_2d, where)
    norm_params = values.pop("norm_params", None) or {}
    if isinstance(norm_params, dict) and norm_params.get("num_groups", 1) == 1:
        norm_params.pop("num_groups", None)
    activation_params = values.pop("activation_params", None) or {}
    values["alpha"] = activation_params.pop("alpha", 1.0) if isinstance(activation_params, dict) else 1.0
    if "half_filters" in values:
        values["double_filters"] = values.pop("half_filters")
    for key in ("final_activation", "final_activation_params", "add_snake_activation"):
        if values.pop(key, None) not in (None, False):
            raise _Wrong(f"{where}: {key} is not supported")
    if values.pop("last_out_padding", [[0, 1], [0, 0]]) != [[0, 1], [0, 0]] or norm_params or activation_params:
        raise _Wrong(f"{where}: norm_params, activation_params or last_out_padding with values not supported")
    unknown = sorted(map(str, values.keys() - {field.name for field in fields(Seanet)}))
    if unknown:
        raise _Wrong(f"{where}: unknown key {unknown[0]!r}")
    values["seq_model"] = str(values.get("seq_model", "lstm")).lower()
    _choice(values, "norm", "weight_norm", ("none", "weight_norm", "time_group_norm"), where)
    _choice(values, "seq_model", "lstm", ("lstm", "none"), where)
    _choice(values, "activation", "ELU", ("ELU",), where)
    _choice(values, "pad_mode", "reflect", ("reflect",), where)
    seanet = Seanet(**values)
    for field in fields(Seanet):
        value, kind = getattr(seanet, field.name), type(field.default)
        if kind in (int, bool, float) and type(value) is not kind and not (kind is float and type(value) is int):
            raise _Wrong(f"{where}: {field.name} is {value!r}, expected {kind.__name__}")
    if not is_2d and (not seanet.double_filters or seanet.conv_group_ratio > 0 or seanet.tr_conv_group_ratio > 0):
        raise _Wrong(f"{where}: half_filters, conv_group_ratio and tr_conv_group_ratio are not supported in time")
    if seanet.causal and seanet.norm == "time_group_norm":
        raise _Wrong(f"{where}: time_group_norm can't be causal")
    return seanet


def _ratios(found: Any, is_2d: bool, where: str) -> tuple[tuple[int, int], ...]:
    default: list[Any] = [[4, 1], [4, 1], [4, 2], [4, 1]] if is_2d else [8, 5, 4, 2]
    found = default if found is None else found
    pairs = [tuple(item) if is_2d and isinstance(item, list) else (1, item) for item in found]
    if not pairs or any(len(pair) != 2 or not all(type(n) is int and 0 < n < 1000 for n in pair) for pair in pairs):
        raise _Wrong(f"{where}: ratios {found!r}")
    return tuple((freq, time) for freq, time in pairs)


def _section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    if value is not None and not isinstance(value, dict):
        raise _Wrong(f"{key} is not a section of keys and values")
    return value or {}


def _whole(section: Mapping[str, Any], key: str, default: int | None) -> int:
    value = section.get(key, default)
    if type(value) is not int or value < 1:
        raise _Wrong(f"{key} is {value!r}, expected a whole number above 0")
    return value


def _choice(section: Mapping[str, Any], key: str, default: str, known: tuple[str, ...], where: str = "") -> str:
    value = section.get(key, default)
    if value not in known:
        raise _Wrong(f"{where}{': ' if where else ''}{key} {value!r} is not supported here; known: {', '.join(known)}")
    return str(value)
