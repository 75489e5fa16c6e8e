"""A language that a small model reads without an error: each letter is a tone, a space is silence.

`build_reader` writes a Wav2Vec2 CTC model of the real architecture in transformers' format. Its first layer is a bank
of filters at the letters' tones; the rest is trained on random texts in some seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from whisper_model import save_ctc

from vall_e.compat import install_shim

RATE_HZ = 16_000
LETTERS = "abcdefghijklmnopqrstuvwxyz"
TONE_S, GAP_S, SPACE_S = 0.06, 0.05, 0.1
KERNEL, STRIDE = 800, 320


def tone_hz(letter: str) -> float:
    return 400.0 + 200.0 * LETTERS.index(letter)


def say(text: str, noise: float = 0.003, seed: int = 0) -> np.ndarray:
    """A text as tones, float32 [n] at 16 kHz; what is no letter is a space."""
    parts = []
    time = np.arange(round(TONE_S * RATE_HZ)) / RATE_HZ
    for letter in text.lower():
        if letter in LETTERS:
            parts += [0.2 * np.sin(2 * np.pi * tone_hz(letter) * time), np.zeros(round(GAP_S * RATE_HZ))]
        else:
            parts.append(np.zeros(round(SPACE_S * RATE_HZ)))
    samples = np.concatenate([np.zeros(800), *parts, np.zeros(800)])
    samples += noise * np.random.default_rng(seed).standard_normal(len(samples))
    return samples.astype(np.float32)


def build_reader(folder: Path) -> Path:
    """Writes the model into `folder` and returns that path."""
    install_shim()
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    names = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS]
    width = 4 * len(LETTERS)
    config = Wav2Vec2Config(
        vocab_size=len(names),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(width,),
        conv_kernel=(KERNEL,),
        conv_stride=(STRIDE,),
        feat_extract_norm="layer",
        conv_bias=True,
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=False,
        ctc_zero_infinity=True,
    )
    torch.manual_seed(0)
    model: Any = Wav2Vec2ForCTC(config)
    time = (np.arange(KERNEL) - KERNEL / 2) / RATE_HZ
    window = np.hanning(KERNEL)
    bank = []
    for letter in LETTERS:
        for phase in (0.0, 0.5, 1.0, 1.5):
            bank.append(window * np.cos(2 * np.pi * tone_hz(letter) * time + np.pi * phase) / KERNEL * 40)
    with torch.no_grad():
        conv = model.wav2vec2.feature_extractor.conv_layers[0].conv
        conv.weight.copy_(torch.tensor(np.array(bank), dtype=torch.float32)[:, None])
        conv.bias.fill_(0.0)
    model.freeze_feature_encoder()
    _train(model, {name: number for number, name in enumerate(names)})
    return save_ctc(folder, model, names, do_normalize=False)


def _train(model: Any, numbers: dict[str, int], steps: int = 300, batch: int = 8, length: int = 24) -> None:
    rng = np.random.default_rng(0)
    optimiser = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=3e-3)
    model.train()
    for _ in range(steps):
        texts = ["".join(rng.choice([*LETTERS, " "], length, p=[0.85 / 26] * 26 + [0.15])) for _ in range(batch)]
        noise = float(rng.choice([0.0, 0.003, 0.01]))
        waves = [say(text, noise=noise, seed=int(rng.integers(1 << 30))) for text in texts]
        size = max(map(len, waves))
        inputs = torch.tensor(np.stack([np.pad(wave, (0, size - len(wave))) for wave in waves]))
        labels = [[numbers["|" if each == " " else each] for each in text] for text in texts]
        loss = model(inputs, labels=torch.tensor(labels)).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    model.eval()
