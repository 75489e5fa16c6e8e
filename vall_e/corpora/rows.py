"""Rows of manifests, whoever wrote them: which key holds the text, the speaker, the language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vall_e.corpora.base import language_fields, number_of, text_of
from vall_e.types import UNKNOWN_SPEAKER

# keys in the order of preference; compared without regard to case
TEXT_KEYS = (
    *("normalized_text", "text_normalized", "normalised_text", "text", "sentence", "transcript", "transcription"),
    *("txt", "raw_text", "raw_transcription"),
)
SPEAKER_KEYS = ("speaker", "speaker_id", "speaker_name", "client_id", "spk", "spk_id", "reader_id")
LANGUAGE_KEYS = ("language", "lang", "locale", "language_code")
ID_KEYS = ("id", "_id", "utt_id", "utterance_id", "key", "segment_id")
SCORE_KEYS = ("dnsmos", "up_votes", "down_votes", "snr", "cer", "wer")  # what others measured, kept as scores


def fields(row: Mapping[str, Any], text_key: str | None = None) -> dict[str, Any]:
    """The fields of a Recording that a row gives: text, speaker, language, scores.

    Args:
        row: by key.
        text_key: where the text is; None: the first of TEXT_KEYS that holds one.
    """
    low = {key.lower(): value for key, value in row.items()}
    text = text_of(low.get(text_key.lower())) if text_key else first_text(low, TEXT_KEYS)
    scores = {key: value for key in SCORE_KEYS if key in low and (value := number_of(low[key])) is not None}
    return {
        "text": text,
        "speaker": first_text(low, SPEAKER_KEYS) or UNKNOWN_SPEAKER,
        "scores": scores,
        **language_fields(first_text(low, LANGUAGE_KEYS)),
    }


def first_text(row: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    """The first of `keys` that holds a text in a row with keys in lower case."""
    return next((found for key in keys if key in row and (found := text_of(row[key]))), None)
