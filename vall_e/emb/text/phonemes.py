"""Text → phonemes: prepared, read chunk by chunk between punctuation marks, and checked for what would be lost."""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vall_e.emb.text import normalise as texts_
from vall_e.emb.text.base import Phonemizer, Unspoken, Voices
from vall_e.emb.text.lexicon import load as load_lexicon
from vall_e.emb.text.registry import G2pOptions, resolve_japanese
from vall_e.types import Reject, RejectReason, UsageError

if TYPE_CHECKING:
    from vall_e.emb.text.japanese import Kana

REMEMBERED = 64  # prepared texts, and parts of Japanese: the policy asks for lost characters and phonemes in turn
MAX_LISTED = 12  # languages named in a message
_SPOKEN_MARKS = frozenset("%‰&@#§")  # punctuation by category, words by sound
_SOUND_MARKS = frozenset("\u3099\u309a\u309b\u309c")  # ゛ and ゜: espeak reads あ゛ as "va"
_SILENT_SYMBOLS = frozenset("|~")
# A word in Latin letters inside Japanese: espeak's Japanese voice would spell it.
_LATIN = re.compile(r"([A-Za-zÀ-ɏ]+(?:['’ -][A-Za-zÀ-ɏ]+)*)")


class TextPhonemizer:
    """The one Phonemizer: text is prepared here and read by `voices`, chunk by chunk between punctuation marks."""

    def __init__(self, voices: Voices, options: G2pOptions) -> None:
        self._voices = voices
        self._options = options
        self.version = voices.version
        self._lexicon = load_lexicon(options.lexicon) if options.lexicon else None
        self._in_words = functools.lru_cache(REMEMBERED)(self._find_words)
        self._prepared = functools.lru_cache(REMEMBERED)(self._prepare)
        self._spoken = functools.lru_cache(REMEMBERED)(lambda part, speaker: voices.read([part], speaker)[0])
        self._lost = functools.lru_cache(REMEMBERED)(self._find_lost)
        self._kana = functools.cache(lambda: _load_kana(options.japanese))
        self._readable: defaultdict[str, set[str]] = defaultdict(set)  # by voice, what was asked for already

    def spoken(self, text: str, language: str) -> str:
        self._voice(language)
        return self._in_words(text, language)

    def _find_words(self, text: str, language: str) -> str:
        text = texts_.normalise(text, keep_signs=self._options.normalise)
        if self._lexicon is not None:
            text = self._lexicon.replace(text)
        if not self._options.normalise:
            return text
        from vall_e.emb.text.spoken import to_spoken  # with its tables: not for --help

        return to_spoken(text, language)

    def supports(self, language: str) -> bool:
        return self._voices.voice(language) is not None

    def phonemize(self, texts: Sequence[str], language: str) -> list[str]:
        voice = self._voice(language)
        return [self._phonemize_one(self._in_words(text, language), voice) for text in texts]

    def lost_characters(self, text: str, language: str) -> str:
        voice = self._voice(language)
        return self._lost(self._prepared(self._in_words(text, language), voice), voice)

    def _find_lost(self, prepared: str, voice: str) -> str:
        readable = self._readable[voice]
        if voice != "ja" and readable.issuperset(prepared):
            return ""
        new = [char for char in dict.fromkeys(prepared) if char not in readable]  # in the order of the text
        lost = {char for char in new if self._is_lost(char, voice)}
        strays = {char for char in new if char not in lost and self._is_stray(char, voice)}
        readable.update(set(new).difference(lost, strays))
        if strays or voice == "ja":
            lost.update(*self._lost_in_words(_without(prepared, lost), strays, voice))
        return "".join(char for char in dict.fromkeys(prepared) if char in lost)

    def _lost_in_words(self, prepared: str, strays: set[str], voice: str) -> Iterator[str]:
        """What is lost of the `strays`, which a voice reads beside some characters only, or in words that it spells."""
        for chunk in texts_.MARKS_RE.split(prepared)[::2]:
            for speaker, part in self._parts(chunk, voice):
                spelled = speaker == "ja" and self._voices.spells(self._spoken(part, speaker), speaker)
                words = (word for word in part.split() if spelled or not strays.isdisjoint(word))
                yield from (self._voices.lost_in(word, speaker) for word in words)

    def _is_stray(self, char: str, voice: str) -> bool:
        asked = ord(char) <= 0xFFFF and not char.isspace() and not char.isascii() and char not in texts_.MARKS
        return asked and self._voices.is_stray(char, voice)

    def _voice(self, language: str) -> str:
        voice = self._voices.voice(language)
        if voice is None:
            raise UsageError(f"no voice for the language {language!r}; {_advice(language, self._voices.languages())}")
        return voice

    def _prepare(self, text: str, voice: str) -> str:
        if voice == "ja":
            text = self._kana().convert(text)
        return texts_.split_long(text)

    def _phonemize_one(self, text: str, voice: str) -> str:
        text = self._prepared(text, voice)
        while lost := self._lost(text, voice):
            # not "Chinese letter", and not to espeak: some mixtures of scripts make it crash
            text = _without(text, lost)
        if self._options.punctuation:
            pieces = texts_.MARKS_RE.split(text)  # chunk, marks, chunk, …, chunk
            pieces[::2] = self._read(pieces[::2], voice)
        else:
            pieces = self._read([texts_.MARKS_RE.sub(" ", text).strip()], voice)
        phonemes = unicodedata.normalize("NFC", " ".join("".join(pieces).split()))
        return phonemes if self._options.strip or not phonemes else phonemes + " "

    def _read(self, chunks: Sequence[str], voice: str) -> list[str]:
        """N chunks → N readings. In Japanese, words in Latin letters go to the English voice."""
        parts = [(number, *part) for number, chunk in enumerate(chunks) for part in self._parts(chunk, voice)]
        readings: list[list[str]] = [[] for _ in chunks]
        for each in dict.fromkeys(speaker for _, speaker, _ in parts):
            own = [(number, part) for number, speaker, part in parts if speaker == each]
            if each == "ja":  # these were read before, when looking for what is lost
                spoken = iter([self._spoken(part, each) for _, part in own])
            else:
                spoken = iter(self._voices.read([part for _, part in own], each))
            parts = [(n, "", next(spoken)) if speaker == each else (n, speaker, p) for n, speaker, p in parts]
        for number, _, reading in parts:
            readings[number].append(reading)
        return [" ".join(filter(None, reading)) for reading in readings]

    def _parts(self, chunk: str, voice: str) -> Iterator[tuple[str, str]]:
        """(voice, text) for each part of a chunk that is read in one go; nothing for an empty chunk."""
        if voice != "ja":
            parts = [(voice, chunk)]
        else:
            parts = [(self._english(voice) if _LATIN.fullmatch(part) else voice, part) for part in _LATIN.split(chunk)]
        return ((speaker, clause) for speaker, part in parts if part.strip() for clause in texts_.clauses(part))

    def _english(self, voice: str) -> str:
        return self._voices.voice("en") or voice

    def _is_lost(self, char: str, voice: str) -> bool:
        category = unicodedata.category(char)
        if char in _SOUND_MARKS:
            return True  # those that change a kana are one with it by now
        if category in ("Co", "Cn", "Cs") or char == texts_.REPLACEMENT:
            return True
        if ord(char) > 0xFFFF and category[0] == "L" and voice != "en-shaw":
            return True  # no voice knows these; espeak would say long numbers, and is not safe at that
        # Marks belong to a letter that is asked for. Letters, numbers, currencies and the signs of mathematics are
        # words; the other symbols are seldom said.
        asked = category[0] in "LN" or category in ("Sc", "Sm", "So") or char in _SPOKEN_MARKS
        if not asked or char in _SILENT_SYMBOLS or unicodedata.name(char, "").startswith("MODIFIER LETTER"):
            return False
        if voice == "ja" and _LATIN.fullmatch(char):
            voice = self._english(voice)
        return self._voices.is_lost(char, voice)


def _without(text: str, lost: Iterable[str]) -> str:
    return " ".join(text.translate(dict.fromkeys(map(ord, lost), " ")).split())


def _advice(language: str, known: Mapping[str, str]) -> str:
    """Which code is meant: `known` has a language's English name by code."""
    wanted = language.lower().replace("_", "-")
    close = difflib.get_close_matches(wanted, {name.lower() for name in known.values()}, n=1, cutoff=0.8)
    named = [code for code, name in known.items() if name.lower().startswith((wanted, *close))] if wanted else []
    for code in (wanted, wanted.partition("-")[0], *sorted(named, key=len)):
        if code in known:
            return f"did you mean {code!r}?"
    few = len(known) <= MAX_LISTED
    return f"known: {', '.join(known)}" if few else "it takes a code of ISO 639-1, like 'en' or 'ja'"


def _load_kana(choice: str) -> Kana:
    from vall_e.emb.text.japanese import Kana, Pykakasi

    if resolve_japanese(choice) == "openjtalk":
        from vall_e.emb.text.openjtalk import OpenJTalk

        return Kana(OpenJTalk())
    return Kana(Pykakasi())


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is said: `spoken` in words, `phonemes` in the back end's notation."""

    spoken: str
    phonemes: str


def to_phonemes(phonemizer: Phonemizer, text: str, language: str, *, item_id: str, stage: str) -> Reading | Reject:
    """How one text is read, or why it can't be: the policy that the stages share."""

    def reject(reason: RejectReason, detail: str) -> Reject:
        return Reject(id=item_id, stage=stage, reason=reason, detail=detail)

    if texts_.is_blank(text):
        return reject(RejectReason.NO_TEXT, "the text is blank")
    if not phonemizer.supports(language):
        return reject(RejectReason.LANGUAGE_UNSUPPORTED, f"no voice for the language {language!r}")
    try:
        spoken = phonemizer.spoken(text, language)
        lost = phonemizer.lost_characters(text, language)
        phonemes = "" if lost else phonemizer.phonemize([text], language)[0]
    except Unspoken as error:
        return reject(RejectReason.NO_READING, str(error))
    if lost:
        names = ", ".join(f"{char!r} (U+{ord(char):04X})" for char in lost[:8]) + (", …" if len(lost) > 8 else "")
        return reject(RejectReason.LOST_CHARACTERS, f"not readable in {language!r}: {names}")
    if all(char.isspace() or char in texts_.MARKS for char in phonemes):
        return reject(RejectReason.NO_PHONEMES, f"nothing to say in {text[:80]!r}")
    return Reading(spoken=spoken, phonemes=phonemes)
