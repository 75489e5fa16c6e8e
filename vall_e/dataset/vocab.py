"""Token and language ids: one token per Unicode character of the phonemes, saved with a version and a content hash."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vall_e import storage
from vall_e.types import ContractError, UsageError
from vall_e.units import MARK, PAUSE, kind_of

VOCAB_VERSION = 1
SPECIALS = ("<pad>", "<bos>", "<eos>")
PAD, BOS, EOS = range(len(SPECIALS))


@dataclass(frozen=True)
class Vocabulary:
    """Phones and languages, each in order of id; a phone's id is its place plus the number of special tokens.

    The first vocabulary is in code point order; what later data brings comes after it, so that no id changes.
    """

    phones: tuple[str, ...]
    languages: tuple[str, ...]

    @classmethod
    def of(cls, phones: Iterable[str], languages: Iterable[str]) -> Vocabulary:
        """In code point order, so that the same data gives the same ids."""
        return cls(tuple(sorted(set(phones))), tuple(sorted(set(languages))))

    def extended(self, phones: Iterable[str], languages: Iterable[str]) -> Vocabulary:
        """With what is new after what is known, in code point order: every known id stays."""
        more = Vocabulary.of(set(phones).difference(self.phones), set(languages).difference(self.languages))
        return Vocabulary(self.phones + more.phones, self.languages + more.languages)

    def __len__(self) -> int:
        """Rows of a text embedding: special tokens and phones."""
        return len(SPECIALS) + len(self.phones)

    @functools.cached_property
    def token_of(self) -> dict[str, int]:
        return {phone: number for number, phone in enumerate(self.phones, start=len(SPECIALS))}

    @functools.cached_property
    def kinds(self) -> np.ndarray:
        """int64 [V]: whether each token is a phone, a mark or a pause (see `vall_e.units`); <bos>, <eos> are pauses."""
        return np.array([MARK, PAUSE, PAUSE, *map(kind_of, self.phones)], np.int64)

    @functools.cached_property
    def language_ids(self) -> dict[str, int]:
        return {language: number for number, language in enumerate(self.languages)}

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of everything that gives an id its meaning. Two vocabularies with the same hash are the same."""
        content = json.dumps([VOCAB_VERSION, SPECIALS, self.phones, self.languages])
        return hashlib.sha256(content.encode()).hexdigest()

    def encode(self, phonemes: str, where: str) -> np.ndarray:
        """int32 [S]: <bos>, one token per character, <eos>; `where` names the utterance in an error.

        Raises:
            ContractError: names the unknown phone and `where`.
        """
        tokens = self.token_of
        try:
            return np.array([BOS, *[tokens[phone] for phone in phonemes], EOS], np.int32)
        except KeyError as error:
            phone = error.args[0]
            raise ContractError(f"{where}: phone {phone!r} (U+{ord(phone):04X}) is not in the vocabulary") from None

    def decode(self, tokens: Iterable[int]) -> str:
        """The phonemes of `encode`; special tokens are left out."""
        return "".join(self.phones[token - len(SPECIALS)] for token in tokens if token >= len(SPECIALS))

    def language_id(self, language: str, where: str) -> int:
        """Raises:
        ContractError: names the unknown language and `where`.
        """
        if language not in self.language_ids:
            raise ContractError(f"{where}: language {language!r} is not in the vocabulary")
        return self.language_ids[language]

    def save(self, path: Path, root: Path) -> None:
        """Writes the JSON file, `path` below `root`, whole or not at all."""
        value = {
            "version": VOCAB_VERSION,
            "sha256": self.sha256,
            "specials": list(SPECIALS),
            "phones": list(self.phones),
            "languages": self.language_ids,
        }
        storage.write_json(path, value, root)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Reads what `save` wrote.

        Raises:
            UsageError: no such file.
            ContractError: not a vocabulary, of another version, or changed since it was saved.
        """
        if not path.is_file():
            raise UsageError(f"{path}: no such vocabulary; a build without --vocab makes one (vocab.json)")
        try:
            value = json.loads(path.read_bytes())
            version, digest, specials = value["version"], value["sha256"], tuple(value["specials"])
            languages = sorted(value["languages"], key=value["languages"].__getitem__)
            vocabulary = cls(tuple(value["phones"]), tuple(languages))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ContractError(f"{path}: not a vocabulary: {error!r}") from None
        if version != VOCAB_VERSION or specials != SPECIALS:
            raise ContractError(f"{path}: vocabulary version {version}, this program reads version {VOCAB_VERSION}")
        if digest != vocabulary.sha256 or vocabulary.language_ids != value["languages"]:
            raise ContractError(f"{path}: the content does not match its hash; the file was changed by hand")
        return vocabulary
