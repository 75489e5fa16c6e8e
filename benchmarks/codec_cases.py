"""The codecs and, beside each, its own package on the same weights: what bench_codecs.py measures.

Weights are random, codebooks fitted to what the encoder gives for the audio (codec_models.py and funcodec_models.py of
the tests), sizes as published. `tiny` is the one that ships, and has no package.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

import codec_models  # noqa: E402  (beside the tests)
import funcodec_models  # noqa: E402

from vall_e import audio  # noqa: E402
from vall_e.emb.codecs.dac import PUBLISHED, DacCodec  # noqa: E402
from vall_e.emb.codecs.encodec import EncodecCodec  # noqa: E402
from vall_e.emb.codecs.encodec_48khz import Encodec48Codec, chunk_frames  # noqa: E402
from vall_e.emb.codecs.funcodec import FuncodecCodec  # noqa: E402
from vall_e.emb.codecs.tiny import WEIGHTS, TinyCodec, load_model  # noqa: E402
from vall_e.emb.codecs.vocos import VocosCodec  # noqa: E402
from vall_e.emb.qnt import Codec  # noqa: E402

LEVELS = 8
WINDOW_S = 2.0  # of the codecs that have windows, where pieces are compared with the whole
WHOLE_S = 1e5
FUNCODEC_KINDS = {"ds640": "time_ds640", "ds320": "time_ds320", "mag_phase": "mag_phase"}

# the packages build on torch's older weight norm, which says so at each layer
warnings.filterwarnings("ignore", r".*torch\.nn\.utils\.weight_norm.* is deprecated", FutureWarning)
warnings.filterwarnings("ignore", "TF32 acceleration on top of oneDNN", UserWarning)  # when oneDNN is switched off


@dataclass
class Package:
    """The authors' code. Both ways compute in the type of the weights that `model` has at the moment."""

    model: nn.Module
    networks: Sequence[nn.Module]  # of it, without the quantiser
    decode: Callable[[np.ndarray], np.ndarray]  # codes [K,T] → float [n], of a stereo codec [2,n]
    encode: Callable[[np.ndarray], np.ndarray] | None = None  # float32 [n] → codes [K,T]


@dataclass
class Case:
    name: str
    make: Callable[..., Codec]  # (device=…, dtype=…)
    package: Callable[[], Package | None] = lambda: None
    encodes: bool = True  # False: its codes are another codec's
    dtypes: tuple[str, ...] = ("float32", "bfloat16", "float16")
    pieces: tuple[Callable[[], Codec], Callable[[], Codec]] | None = None  # in pieces, and at once
    reference: Callable[[Any], Callable[[np.ndarray], np.ndarray] | None] = lambda codec: None  # float64, no package


def cases(name: str, folder: Path, sound: np.ndarray, stack: contextlib.ExitStack) -> list[Case]:
    """Of a back end, its weights made in the folder from `sound`, float32 [n] at 24 kHz."""
    if name in PUBLISHED:
        return [dac_case(folder, sound, name)]
    made = {
        "encodec": lambda: [encodec_case(folder, sound)],
        "encodec_48khz": lambda: [encodec_48khz_case(folder, sound)],
        "vocos": lambda: [vocos_case(folder, sound)],
        "funcodec": lambda: funcodec_cases(folder, audio.resample(sound, 24_000, 16_000), stack),
        "tiny": lambda: [tiny_case()],
    }
    return made[name]()


NAMES = ("encodec", "encodec_48khz", "vocos", *PUBLISHED, "funcodec", "tiny")


def _indices(codes: np.ndarray) -> Tensor:
    return torch.from_numpy(codes.astype(np.int64))


def _tensor(samples: np.ndarray, model: nn.Module) -> Tensor:
    """[n] → [1,1,n] in the type of the model's weights."""
    return torch.from_numpy(samples)[None, None].to(next(model.parameters()).dtype)


def _encodec_package(path: Path, kind: str) -> Package:
    from encodec.model import EncodecModel

    spec = (EncodecCodec if kind == "24khz" else Encodec48Codec)(weights=path).spec

    model: Any = getattr(EncodecModel, f"encodec_model_{kind}")(pretrained=False)
    model.load_state_dict(torch.load(path, weights_only=True))
    model.set_target_bandwidth(6.0 if kind == "24khz" else 12.0)

    def encode(samples: np.ndarray) -> np.ndarray:
        parts = model.encode(_tensor(samples, model).repeat(1, model.channels, 1))
        codes: np.ndarray = torch.cat([codes[0] for codes, _ in parts], 1).numpy()
        return codes

    def decode(codes: np.ndarray) -> np.ndarray:
        counts = chunk_frames(spec, codes.shape[1]) if spec.chunk_samples else [codes.shape[1]]
        parts = _indices(codes)[None].split(counts, dim=2)
        sound: np.ndarray = model.decode([(part, None) for part in parts])[0].numpy()
        return sound[0] if spec.num_channels == 1 else sound

    return Package(model, [model.encoder, model.decoder], decode, encode)


def _encodec_weights(folder: Path, sound: np.ndarray, kind: str) -> Path:
    path = folder / f"encodec_{kind}.th"
    if not path.is_file():
        codec_models.encodec(path, sound, kind=kind, seconds=min(6.0, len(sound) / 48_000))
    return path


def encodec_case(folder: Path, sound: np.ndarray) -> Case:
    path = _encodec_weights(folder, sound, "24khz")

    make = functools.partial(EncodecCodec, weights=path)
    pieces = (make, functools.partial(make, piece_s=WHOLE_S))
    return Case("encodec", make, functools.partial(_encodec_package, path, "24khz"), pieces=pieces)


def encodec_48khz_case(folder: Path, sound: np.ndarray) -> Case:
    path = _encodec_weights(folder, sound, "48khz")
    make = functools.partial(Encodec48Codec, weights=path)
    return Case("encodec_48khz", make, functools.partial(_encodec_package, path, "48khz"))


def vocos_case(folder: Path, sound: np.ndarray) -> Case:
    """To encode is EnCodec's, so only to decode is measured."""
    weights = codec_models.vocos(folder / "vocos", _encodec_weights(folder, sound, "24khz"), width=384, layers=8)

    def package() -> Package:
        import yaml
        from vocos.heads import ISTFTHead
        from vocos.models import VocosBackbone

        config = yaml.safe_load((weights / "config.yaml").read_text())
        parts = {"backbone": VocosBackbone, "head": ISTFTHead}
        model = nn.ModuleDict({part: cls(**config[part]["init_args"]) for part, cls in parts.items()}).eval()
        state = torch.load(weights / "pytorch_model.bin", weights_only=True)
        codebooks = state.pop("feature_extractor.codebook_weights")
        model.load_state_dict(state)

        def decode(codes: np.ndarray) -> np.ndarray:  # as codes_to_features and decode of the package's class
            places = _indices(codes) + 1024 * torch.arange(len(codes))[:, None]
            features = nn.functional.embedding(places[:, None], codebooks).sum(0).transpose(1, 2)
            hidden = model["backbone"](features.to(next(model.parameters()).dtype), bandwidth_id=torch.tensor([2]))
            sound: np.ndarray = model["head"](hidden)[0].numpy()
            return sound

        return Package(model, [model], decode)

    make = functools.partial(VocosCodec, weights=weights)
    pieces = tuple(functools.partial(make, window_s=seconds) for seconds in (WINDOW_S, WHOLE_S))
    return Case("vocos", make, package, encodes=False, pieces=(pieces[0], pieces[1]))


def dac_case(folder: Path, sound: np.ndarray, name: str) -> Case:
    """The published size but for the number of levels, which are 9 everywhere."""
    rate_hz, path = PUBLISHED[name].sample_rate_hz, folder / f"{name}.pth"
    config = {**codec_models.dac_config(rate_hz), "encoder_dim": 64, "decoder_dim": 1536}
    codec_models.dac(path, sound, config, seconds=1.0)

    def load() -> Any:
        import dac

        content = torch.load(path, weights_only=True)
        model = dac.model.DAC(**content["metadata"]["kwargs"]).eval()
        model.load_state_dict(content["state_dict"])
        return model

    def package() -> Package:
        model = load()

        def encode(samples: np.ndarray) -> np.ndarray:
            codes: np.ndarray = model.encode(model.preprocess(_tensor(samples, model), rate_hz), LEVELS)[1][0].numpy()
            return codes

        def decode(codes: np.ndarray) -> np.ndarray:
            sound: np.ndarray = model.decode(model.quantizer.from_codes(_indices(codes)[None])[0])[0, 0].numpy()
            return sound

        return Package(model, [model.encoder, model.decoder], decode, encode)

    make = functools.partial(DacCodec, name=name, weights=path)
    pieces = tuple(functools.partial(make, window_s=seconds) for seconds in (WINDOW_S, WHOLE_S))
    return Case(
        name,
        make,
        package,
        pieces=(pieces[0], pieces[1]),
    )


def funcodec_cases(folder: Path, sound_16khz: np.ndarray, stack: contextlib.ExitStack) -> list[Case]:
    """Time domain at 25 and 50 frames/s, and a spectrum; the package is installed apart, once."""

    @functools.cache
    def modules() -> Any:
        try:
            return stack.enter_context(funcodec_models.package(folder / "package"))
        except RuntimeError as error:
            reason = str(error).strip().rpartition("\n")[2]
            print(f"funcodec: its package can't be installed, so only ours is measured: {reason}", flush=True)
            return None

    def package(weights: Path) -> Package | None:
        return _funcodec_package(modules(), weights) if modules() else None

    made = []
    for name, kind in FUNCODEC_KINDS.items():
        weights = funcodec_models.save(folder / kind, kind, sound_16khz[: 16_000 * 6], full_size=True)
        make = functools.partial(FuncodecCodec, weights=weights, num_levels=LEVELS)
        pieces = (functools.partial(make, at_once_s=0.5, window_s=WINDOW_S), make)
        made.append(Case(f"funcodec {name}", make, functools.partial(package, weights), pieces=pieces))
    return made


def _funcodec_package(modules: Any, weights: Path) -> Package:
    model = funcodec_models.their_model(modules, weights)
    quantizer = model.quantizer
    hop = FuncodecCodec(weights=weights).spec.hop_samples
    bits_per_s = LEVELS * quantizer.rq.get_bandwidth_per_quantizer(quantizer.sampling_rate)

    def encode(samples: np.ndarray) -> np.ndarray:
        found = model.inference_encoding(_tensor(samples, model)[0], bit_width=bits_per_s)
        codes = torch.cat([part[:, 0] for part in found["code_indices"]], 1)
        # a spectrum has one column more than hops, which the package's own files of codes leave out
        return codes[:, : -(-len(samples) // hop)].numpy()

    def decode(codes: np.ndarray) -> np.ndarray:
        frames = quantizer.decode(_indices(codes)[:, None]).transpose(1, 2)
        sound: np.ndarray = model._decode([(frames, None)]).reshape(-1).numpy()
        return sound

    return Package(model, [model.encoder, model.decoder], decode, encode)


def tiny_case() -> Case:
    pieces = tuple(functools.partial(TinyCodec, window_s=seconds) for seconds in (WINDOW_S, WHOLE_S))

    def reference(codec: TinyCodec) -> Callable[[np.ndarray], np.ndarray]:
        model, codebooks = load_model(WEIGHTS).double(), torch.from_numpy(codec.codebooks).double()

        def encode(samples: np.ndarray) -> np.ndarray:
            padded = np.pad(samples, (0, -len(samples) % codec.spec.hop_samples))
            rest, codes = model.latents(torch.from_numpy(padded)[None].double())[0], []
            for codebook in codebooks:
                codes.append(torch.cdist(rest, codebook, compute_mode="donot_use_mm_for_euclid_dist").argmin(1))
                rest = rest - codebook[codes[-1]]
            return torch.stack(codes).numpy()

        return encode

    return Case(
        "tiny",
        TinyCodec,
        dtypes=("float32",),
        pieces=(pieces[0], pieces[1]),
        reference=reference,
    )
