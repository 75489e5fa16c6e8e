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
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vall_e import audio as audio_files
from vall_e import config, storage
from vall_e.emb.codecs import kaldi
from vall_e.emb.codecs.base import (
    Codec,
    Quantizer,
    check_codes,
    decode,
    encode,
    encode_all,
    encode_prepared,
    prepare,
)
from vall_e.emb.codecs.edit import (
    concat,
    join_bits,
    mix,
    mix_codes,
    pad_codes_with_silence,
    pad_silence,
    repeat_extend,
    split_bits,
    trim,
)
from vall_e.emb.codecs.registry import CodecOptions, load_codec
from vall_e.types import ContractError, UsageError

__all__ = [
    "Codec",
    "CodecOptions",
    "Quantizer",
    "check_codes",
    "concat",
    "decode",
    "encode",
    "encode_all",
    "encode_prepared",
    "join_bits",
    "load_codec",
    "mix",
    "mix_codes",
    "pad_codes_with_silence",
    "pad_silence",
    "prepare",
    "repeat_extend",
    "split_bits",
    "trim",
]


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m vall_e.emb.qnt") -> int:
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["report"]:
        from vall_e.emb.codecs.evaluate import main as report

        return report(argv[1:])
    parser = argparse.ArgumentParser(prog=prog, description="Audio to codes, or codes to audio.")
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
        (codes,) = encode_prepared(codec, [audio])
        return kaldi.Coded(codes, audio.shape[-1], codec.scales([audio])[0])


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
        audio_files.write(temporary, audio, codec.spec.sample_rate_hz)


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
