"""Neural codecs: audio ↔ codes `[K,T]` = [levels, frames], behind one protocol.

    python -m vall_e.emb.qnt --input a.wav --output a.npy [--audio-backend encodec|dac|tiny|…]
    python -m vall_e.emb.qnt --input a.npy --output b.wav
    python -m vall_e.emb.qnt --wav-scp wav.scp --output codecs.txt --audio-backend funcodec --bit-width 8000
    python -m vall_e.emb.qnt --codecs-txt codecs.txt --output DIR --audio-backend funcodec
    python -m vall_e.emb.qnt report --input-audio DIR --audio-backend encodec,tiny

A codec sees float32 at its own rate, mono or, if it is a stereo codec, both sides; resampling, downmixing and checks
are done here, once for all of them. A file is never held in memory as a whole, what is decoded is. A new codec is one
file in `codecs/` and one line in REGISTRY, or an entry point of another package.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.metadata
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from vall_e import audio as audio_files
from vall_e import config, storage
from vall_e.emb.codecs import kaldi
from vall_e.types import BackendError, CodecSpec, ContractError, UsageError


@runtime_checkable
class Codec(Protocol):
    """`encode` of a list equals encoding each alone. ValueError: codes or scales in numbers that it can't have made."""

    spec: CodecSpec

    def encode(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [n] (of a stereo codec also [2,n]) at `spec.sample_rate_hz` → uint16 [K, spec.num_frames(n)] each."""
        ...

    def scales(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [S] each: what the codec divides each of S chunks by before coding; S is 0 where it does not."""
        ...

    def decode(self, codes: Sequence[np.ndarray], scales: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """[K,T] each, K from 1 to `spec.num_levels` → float32 [n], of a stereo codec [2,n], n at least the original's.

        `scales` as `scales` gave them; None is 1 everywhere.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class CodecOptions:
    audio_backend: str = config.option("encodec", "the codec; 'tiny' is embedded, docs/codecs.md lists all")
    weights: Path | None = config.option(None, "file or folder of weights, instead of the codec's own cache or hub")
    levels: int = config.option(8, "levels of codes to keep, coarse first")
    bit_width: int | None = config.option(None, "of funcodec: bits per second, instead of the number of levels")
    device: str = config.option("cpu", "where models run", choices=("cpu", "cuda"))
    dtype: str = config.option(
        "float32", "numbers that networks compute with", choices=("float32", "bfloat16", "float16")
    )


def _encodec(options: CodecOptions) -> Codec:
    from vall_e.emb.codecs.encodec import EncodecCodec

    return EncodecCodec(**_common(options))


def _encodec_48khz(options: CodecOptions) -> Codec:
    from vall_e.emb.codecs.encodec_48khz import Encodec48Codec

    return Encodec48Codec(**_common(options))


def _vocos(options: CodecOptions) -> Codec:
    from vall_e.emb.codecs.vocos import VocosCodec

    return VocosCodec(**_common(options))


def _dac(name: str, chunk_s: float | None, options: CodecOptions) -> Codec:
    from vall_e.emb.codecs.dac import DacCodec

    return DacCodec(name=name, chunk_s=chunk_s, **_common(options))


def _funcodec(options: CodecOptions) -> Codec:
    from vall_e.emb.codecs.funcodec import FuncodecCodec

    return FuncodecCodec(**_common(options), bit_width=options.bit_width)


def _tiny(options: CodecOptions) -> Codec:
    from vall_e.emb.codecs.tiny import TinyCodec

    if options.dtype != "float32":
        raise UsageError(f"tiny: it computes with float32 only, not {options.dtype}")
    return TinyCodec(weights=options.weights, num_levels=options.levels, device=options.device)


def _common(options: CodecOptions) -> dict[str, Any]:
    return {
        "weights": options.weights,
        "num_levels": options.levels,
        "device": options.device,
        "dtype": options.dtype,
    }


REGISTRY: dict[str, Callable[[CodecOptions], Codec]] = {
    "encodec": _encodec,
    "encodec_48khz": _encodec_48khz,
    "vocos": _vocos,
    "dac": functools.partial(_dac, "dac", None),
    "dac_chunked": functools.partial(_dac, "dac", 1.0),  # as its package's compress() does
    "dac_24khz": functools.partial(_dac, "dac_24khz", None),
    "dac_16khz": functools.partial(_dac, "dac_16khz", None),
    "funcodec": _funcodec,
    "tiny": _tiny,
}
ENTRY_POINTS = "vall_e.codecs"  # where other packages' codecs are found: a factory each, taking CodecOptions


def load_codec(options: CodecOptions) -> Codec:
    """The codec, ready: one of REGISTRY, else one that an installed package offers.

    Raises:
        BackendError: its package or weights are missing or do not fit. UsageError: an unknown name, or a number of
            levels it has not.
    """
    if options.bit_width is not None and options.audio_backend != "funcodec":
        raise UsageError(f"{options.audio_backend}: --bit-width is for funcodec; choose --levels")
    if options.audio_backend in REGISTRY:
        return REGISTRY[options.audio_backend](options)
    offered = {entry.name: entry for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    if options.audio_backend not in offered:
        hint = config.nearest(options.audio_backend, [*REGISTRY, *offered])
        raise UsageError(f"codec {options.audio_backend!r} is not known{hint}")
    entry = offered[options.audio_backend]
    try:
        factory = entry.load()
    except (ImportError, AttributeError) as error:
        raise BackendError(f"codec {entry.name}: {entry.value} can't be imported: {error}") from None
    codec = factory(options)
    if not isinstance(codec, Codec):
        raise BackendError(f"codec {entry.name}: what {entry.value} gives is no Codec; see docs/codecs.md")
    return codec


def encode(codec: Codec, audio: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Float32 [n] or [n,C] at any rate → uint16 [K,T].

    A stereo codec gets both of two channels, or one on both sides; whatever else has channels is downmixed to mono.

    Raises:
        ContractError: no samples, NaN or infinity, or codes that break the codec's own spec.
    """
    return encode_all(codec, [audio], sample_rate_hz)[0]


def encode_all(codec: Codec, audios: Sequence[np.ndarray], sample_rate_hz: int) -> list[np.ndarray]:
    """As `encode` for each of several, which a codec may do faster together than one by one."""
    return _encode_prepared(codec, [prepare(codec.spec, audio, sample_rate_hz) for audio in audios])


def prepare(spec: CodecSpec, audio: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """What `encode` gives to the codec, for its `scales` too: float32 [n] at its rate, or [2,n] as `encode` says.

    Raises:
        ContractError: no samples, NaN or infinity.
    """
    # NaN and infinity come through both ends, and no array of this size is made
    if audio.ndim not in (1, 2) or audio.size == 0 or not np.isfinite([audio.min(), audio.max()]).all():
        raise ContractError(f"audio to encode is [n] or [n,C], finite and not empty; found shape {audio.shape}")
    if audio.ndim == 2 and (audio.shape[1], spec.num_channels) != (2, 2):
        audio = audio.mean(axis=1, dtype=np.float32)
    audio = audio.astype(np.float32, copy=False)
    return audio_files.resample(audio, sample_rate_hz, spec.sample_rate_hz).T


def _encode_prepared(codec: Codec, ready: Sequence[np.ndarray]) -> list[np.ndarray]:
    spec = codec.spec
    coded = codec.encode(ready)
    for samples, codes in zip(ready, coded, strict=True):
        expected = (spec.num_levels, spec.num_frames(samples.shape[-1]))
        if codes.dtype != storage.CODE_DTYPE or codes.shape != expected:
            raise ContractError(f"{spec.name} gave {codes.dtype} {codes.shape}, its spec says uint16 {expected}")
    return coded


def decode(
    codec: Codec, codes: np.ndarray, *, scales: np.ndarray | None = None, num_samples: int | None = None
) -> np.ndarray:
    """[K,T] → float32 [n] (of a stereo codec [2,n]) at the codec's rate, cut to the original's `num_samples` if given.

    Raises:
        ContractError: codes of the wrong shape or out of the codebook's range, or too few for `num_samples`; codes or
            scales of a number that the codec can't have made.
    """
    check_codes(codes, codec.spec)
    if num_samples is not None and codec.spec.num_frames(num_samples) != codes.shape[1]:
        raise ContractError(f"{codes.shape[1]} frames are not those of {num_samples} samples of {codec.spec.name}")
    try:
        (audio,) = codec.decode([codes], None if scales is None else [scales])
    except ValueError as error:
        raise ContractError(f"{codec.spec.name} can't have made these: {error}") from error
    return audio[..., :num_samples]


def check_codes(codes: np.ndarray, spec: CodecSpec) -> None:
    """Raises ContractError unless `codes` are integers [K,T], 1 ≤ K ≤ levels, 1 ≤ T, all inside the codebook."""
    if codes.ndim != 2 or codes.dtype.kind not in "ui":
        raise ContractError(f"codes are integers [K,T]; found {codes.dtype} with {codes.ndim} axes")
    if not 1 <= codes.shape[0] <= spec.num_levels or codes.shape[1] == 0:
        raise ContractError(
            f"codes of shape {codes.shape} do not fit {spec.name}: 1 to {spec.num_levels} levels; {kaldi.CODES_ADVICE}"
        )
    if codes.min() < 0 or codes.max() >= spec.codebook_size:
        raise ContractError(
            f"codes from {codes.min()} to {codes.max()}, {spec.name} has codebooks of {spec.codebook_size}; "
            f"{kaldi.CODES_ADVICE}"
        )


# Editing. Time is the last axis of codes [K,T] and of audio [n] alike, so these work on both.


def trim(x: np.ndarray, length: int, *, seed: int | None = None) -> np.ndarray:
    """`length` frames or samples from the start, or from a place drawn with `seed`; all of a shorter one."""
    if length < 0:
        raise ValueError(f"length {length} is negative")
    spare = max(0, x.shape[-1] - length)
    start = 0 if seed is None else int(np.random.default_rng(seed).integers(spare + 1))
    return x[..., start : start + length]


def concat(parts: Sequence[np.ndarray]) -> np.ndarray:
    """One after the other; all of the same number of levels."""
    if len({part.shape[:-1] for part in parts}) != 1:
        raise ValueError(f"can't concatenate shapes {[part.shape for part in parts]}")
    return np.concatenate(parts, axis=-1)


def repeat_extend(x: np.ndarray, length: int) -> np.ndarray:
    """Repeated from its start until it is exactly `length` long."""
    if x.shape[-1] == 0:
        raise ValueError("can't extend an empty array by repeating it")
    return np.take(x, np.arange(length), axis=-1, mode="wrap")


def merge(parts: Sequence[np.ndarray], gains_db: Sequence[float]) -> np.ndarray:
    """Audio [n] or [C,n] each, scaled by its gain in dB and mixed; as long as the longest."""
    if len(parts) != len(gains_db) or not parts:
        raise ValueError(f"{len(parts)} parts and {len(gains_db)} gains: one gain each, at least one part")
    mix = np.zeros((*parts[0].shape[:-1], max(part.shape[-1] for part in parts)), np.float32)
    for part, gain_db in zip(parts, gains_db, strict=True):
        mix[..., : part.shape[-1]] += np.float32(10.0 ** (gain_db / 20.0)) * part
    return mix


def merge_codes(codec: Codec, parts: Sequence[np.ndarray], gains_db: Sequence[float]) -> np.ndarray:
    """Codes [K,T] each, mixed as audio and encoded again → [K, longest T]: codes themselves can't be added."""
    mix = merge([decode(codec, part) for part in parts], gains_db)
    (codes,) = codec.encode([mix])
    return codes


def pad_silence(audio: np.ndarray, before_samples: int, after_samples: int) -> np.ndarray:
    """Audio [n] → [before + n + after]."""
    return np.pad(audio, (before_samples, after_samples))


def pad_codes_with_silence(codec: Codec, codes: np.ndarray, before_frames: int, after_frames: int) -> np.ndarray:
    """[K,T] → [K, before + T + after]; the codes of silence are what this very codec gives for it."""

    def silence(num_frames: int) -> np.ndarray:
        if num_frames == 0:
            return codes[:, :0]
        samples = np.zeros(num_frames * codec.spec.hop_samples, np.float32)
        return encode(codec, samples, codec.spec.sample_rate_hz)[: len(codes)].astype(codes.dtype)

    return concat([silence(before_frames), codes, silence(after_frames)])


# Bits: 10 of a code as a coarse and a fine half, for models that predict fine given coarse from two small softmaxes.


def split_bits(codes: np.ndarray, num_fine_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of any shape → (coarse, fine) of the same shape and type: the high bits, and the `num_fine_bits` low ones.

    Two softmaxes of 32 do for one of 1024, the fine one conditional on the coarse code, as dual-softmax vocoders have
    it (Kalchbrenner et al. 2018, arXiv:1802.08435).
    """
    if codes.dtype.kind not in "ui" or not 0 <= num_fine_bits < 8 * codes.dtype.itemsize:
        raise ValueError(f"{num_fine_bits} low bits of {codes.dtype}: codes are integers wider than that")
    return codes >> num_fine_bits, codes & ((1 << num_fine_bits) - 1)


def join_bits(coarse: np.ndarray, fine: np.ndarray, num_fine_bits: int) -> np.ndarray:
    """The inverse of `split_bits`.

    Raises:
        ValueError: the halves differ in shape or type, or a fine code has more than `num_fine_bits` bits.
    """
    if coarse.shape != fine.shape or coarse.dtype != fine.dtype:
        raise ValueError(f"coarse {coarse.dtype} {coarse.shape} and fine {fine.dtype} {fine.shape} are no two halves")
    if fine.size and (fine.min() < 0 or fine.max() >= 1 << num_fine_bits):
        raise ValueError(f"fine codes go up to {fine.max()}, {num_fine_bits} bits hold {(1 << num_fine_bits) - 1}")
    return (coarse << num_fine_bits) | fine


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["report"]:
        from vall_e.emb.codecs.evaluate import main as report

        return report(argv[1:])
    parser = argparse.ArgumentParser(prog="python -m vall_e.emb.qnt", description="Audio to codes, or codes to audio.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=Path, help="an audio file, or codes in .npy")
    source.add_argument("--wav-scp", type=Path, help="Kaldi's list of audio files, coded into --output codecs.txt")
    source.add_argument("--codecs-txt", type=Path, help="codes of many utterances, to be audio in the folder --output")
    parser.add_argument("--output", type=Path, required=True, help="codes in .npy or codecs.txt, audio file, or folder")
    config.add_options(parser, CodecOptions)
    args = parser.parse_args(argv)
    options = config.resolve(CodecOptions, args, "qnt")
    if args.codecs_txt is not None and args.output.exists() and not args.output.is_dir():
        raise UsageError(f"{args.output}: is a file; audio of many goes into a folder")
    if args.wav_scp is not None and args.output.is_dir():
        raise UsageError(f"{args.output}: is a folder; codes of many go into a file, codecs.txt say")
    if args.input is None:
        return _many(load_codec(options), args.wav_scp, args.codecs_txt, args.output)
    to_codes, from_codes = args.output.suffix == ".npy", args.input.suffix == ".npy"
    if to_codes == from_codes:
        raise UsageError("one of --input and --output is audio, the other ends in .npy")
    if not args.input.is_file():
        raise UsageError(f"{args.input}: no such file")
    if not args.output.parent.is_dir():
        raise UsageError(f"{args.output}: no such folder to write to")
    if from_codes:
        audio_files.require_writable(args.output)
    (_file_to_codes if to_codes else _codes_to_file)(load_codec(options), args.input, args.output)
    return 0


def _many(codec: Codec, wav_scp: Path | None, codecs_txt: Path | None, output: Path) -> int:
    """Kaldi's lists, either way; gives the exit status."""
    if wav_scp is not None:
        return kaldi.encode_scp(wav_scp, output, codec.spec, lambda path: _encode_file(codec, path, output.parent))
    assert codecs_txt is not None  # argparse asks for one of them

    def decode_one(codes: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
        return decode(codec, codes, scales=scales)

    return kaldi.decode_codes(codecs_txt, output, codec.spec, decode_one)


def _encode_file(codec: Codec, path: Path, scratch: Path) -> kaldi.Coded:
    """A file of any length; its samples at the codec's rate lie in the folder `scratch` meanwhile.

    Raises:
        AudioError: not audio that can be used. ContractError: codes that break the codec's own spec.
    """
    spec = codec.spec
    with audio_files.mapped(path, spec.sample_rate_hz, scratch, keep_stereo=spec.num_channels == 2) as audio:
        (codes,) = _encode_prepared(codec, [audio.T])
        return kaldi.Coded(codes, len(audio), codec.scales([audio.T])[0])


def _scales_path(codes: Path) -> Path:
    """Beside `a.npy`, for codecs that normalise: `a.scales.npy`, float32 [S]."""
    return codes.with_suffix(".scales.npy")


def _file_to_codes(codec: Codec, source: Path, target: Path) -> None:
    try:
        coded = _encode_file(codec, source, target.parent)
    except audio_files.AudioError as error:
        raise UsageError(f"{source}: {error}; {kaldi.AUDIO_ADVICE}") from None
    except ContractError as error:
        raise ContractError(f"{source}: {error}") from None
    _scales_path(target).unlink(missing_ok=True)  # of what was coded here before
    if len(coded.scales):
        with _whole(_scales_path(target)) as temporary:
            np.save(temporary, coded.scales, allow_pickle=False)
    with _whole(target) as temporary:
        np.save(temporary, coded.codes, allow_pickle=False)
    print(f"{target}: {codec.spec.name}, {coded.codes.shape[0]} levels, {coded.codes.shape[1]} frames")


def _codes_to_file(codec: Codec, source: Path, target: Path) -> None:
    codes = storage.read_array(source)
    known = _scales_path(source)
    scales = _read_scales(known) if known.is_file() else None
    try:
        audio = decode(codec, codes, scales=scales)
    except ContractError as error:
        raise ContractError(f"{source}: {error}") from None
    with _whole(target) as temporary:
        audio_files.write(temporary, audio.T, codec.spec.sample_rate_hz)


def _read_scales(path: Path) -> np.ndarray:
    """float32 [S].

    Raises:
        ContractError: the file holds something else.
    """
    try:
        scales: np.ndarray = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        raise ContractError(f"{path}: no array of scales; code the audio again, or remove it to do without") from None
    if scales.ndim != 1 or scales.dtype != np.float32 or not np.isfinite(scales).all():
        raise ContractError(f"{path}: scales are finite float32 [S]; found {scales.dtype} {scales.shape}")
    return scales


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A path to write to; what is there takes the place of `target` if all goes well, and is gone if not."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".qnt-") as folder:
        temporary = Path(folder) / target.name
        yield temporary
        temporary.replace(target)


if __name__ == "__main__":
    config.run_main(main)
