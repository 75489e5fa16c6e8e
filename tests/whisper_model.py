"""Tiny models with random weights, for the whisperx back end: no hub can be reached where the tests run.

A Whisper of two layers in CTranslate2's format, with the real multilingual tokenizer, and a Wav2Vec2 CTC model for
alignment. What they say means nothing; the code that runs them is the real one.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vall_e.compat import install_shim

SEED = 7
VOCABULARY_SIZE = 51_865
NUM_TIMES = 1_501


def build_whisper(folder: Path) -> Path:
    """Writes a CTranslate2 Whisper into `folder` / whisper and returns that path."""
    install_shim()
    from ctranslate2.converters import TransformersConverter
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    source, target = folder / "whisper_hf", folder / "whisper"
    specials = _special_tokens()
    ids = _write_tokenizer(source, specials)
    config = WhisperConfig(
        vocab_size=VOCABULARY_SIZE,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_target_positions=448,
        pad_token_id=ids["<|endoftext|>"],
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
    )
    torch.manual_seed(SEED)
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)  # far enough from uniform that rounding decides nothing
    model.generation_config = _generation_config(GenerationConfig, ids, config.max_target_positions)
    model.save_pretrained(source)
    _drop_model_config_mark(source / "generation_config.json")
    converter = TransformersConverter(str(source), copy_files=["tokenizer.json", "preprocessor_config.json"])
    converter.convert(str(target), force=True)
    shutil.rmtree(source)
    return target


def build_aligner(folder: Path) -> Path:
    """Writes a Wav2Vec2 CTC model over a-z, apostrophe and | into `folder` / wav2vec2 and returns that path."""
    install_shim()
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", "'", *"abcdefghijklmnopqrstuvwxyz"]
    config = Wav2Vec2Config(
        vocab_size=len(letters),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    torch.manual_seed(SEED)
    return save_ctc(folder / "wav2vec2", Wav2Vec2ForCTC(config), letters, do_normalize=True)


def save_ctc(target: Path, model: Any, letters: Sequence[str], *, do_normalize: bool) -> Path:
    """Writes a Wav2Vec2 CTC model with its processor into `target`, which it returns."""
    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

    target.mkdir(parents=True)
    vocabulary = target / "vocab.json"
    vocabulary.write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    model.save_pretrained(target)
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=16_000, do_normalize=do_normalize)
    Wav2Vec2Processor(extractor, Wav2Vec2CTCTokenizer(str(vocabulary))).save_pretrained(target)
    return target


def _special_tokens() -> list[str]:
    """The 1,608 tokens after the 50,257 of the text, in Whisper's order."""
    from whisper.tokenizer import LANGUAGES

    languages = [f"<|{code}|>" for code in list(LANGUAGES)[:99]]
    tasks = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    times = [f"<|{number * 0.02:.2f}|>" for number in range(NUM_TIMES)]
    return ["<|endoftext|>", "<|startoftranscript|>", *languages, *(f"<|{task}|>" for task in tasks), *times]


def _write_tokenizer(folder: Path, specials: list[str]) -> dict[str, int]:
    import whisper
    from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor
    from transformers.convert_slow_tokenizer import TikTokenConverter

    ranks = Path(whisper.__file__).parent / "assets" / "multilingual.tiktoken"
    tokenizer = TikTokenConverter(vocab_file=str(ranks), extra_special_tokens=specials).converted()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", unk_token="<|endoftext|>")
    assert len(fast) == VOCABULARY_SIZE, len(fast)
    folder.mkdir(parents=True)
    fast.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return {token: fast.vocab[token] for token in specials}


def _generation_config(cls: type, ids: dict[str, int], max_length: int) -> Any:
    languages = {token: number for token, number in ids.items() if 2 <= len(token) - 4 <= 3 and token[2:-2].isalpha()}
    return cls(
        lang_to_id=languages,
        suppress_tokens=[],
        begin_suppress_tokens=[220, ids["<|endoftext|>"]],
        no_timestamps_token_id=ids["<|notimestamps|>"],
        alignment_heads=[[0, 0]],
        max_length=max_length,
        is_multilingual=True,
        eos_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
        pad_token_id=ids["<|endoftext|>"],
    )


def _drop_model_config_mark(path: Path) -> None:
    """With the mark, the converter derives another configuration and language detection fails with IndexError."""
    values = json.loads(path.read_text())
    values.pop("_from_model_config", None)
    path.write_text(json.dumps(values))


if __name__ == "__main__":
    build_whisper(Path(sys.argv[1]))
    build_aligner(Path(sys.argv[1]))
