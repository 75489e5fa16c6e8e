"""espeak-ng, by the phonemizer package: one back end per voice, created once and kept.

A new phonemizer back end loads its own copy of the espeak library and never gives it all back (5.5 MB each), so none
is made per call. Texts come here as chunks without punctuation: phonemizer's own `preserve_punctuation` loses count
("costs 3.14." comes back as two texts, and fourteen is read as a sentence of its own).
"""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vall_e.emb.text import mandarin
from vall_e.emb.text.base import Unspoken
from vall_e.emb.text.phonemizer import import_phonemizer, quiet_logger, start, version_of
from vall_e.types import BackendError, ContractError

# Whisper's ISO 639 codes whose espeak voice has another name; all others are the same, or espeak has none.
ESPEAK_VOICES = {"en": "en-us", "fr": "fr-fr", "zh": "cmn-latn-pinyin", "no": "nb", "nn": "nb"}
# One lower-case word per script that espeak spells letter by letter where it isn't the voice's own. Read as a word it
# takes about as many phones as it has letters, spelled at least twice as many.
_SCRIPT_WORDS = {"CYRILLIC": "молоко", "GREEK": "και", "ARABIC": "سلام", "HEBREW": "שלום", "TELUGU": "తెలుగు"}
_KANA = ("HIRAGANA", "KATAKANA")  # how the names of kana begin
# Characters no voice knows: espeak says its word for "letter" and then their number.
_UNKNOWN = ("\U00020000", "\U00012000", "\ua000")
REMEMBERED_WORDS = 10_000  # those with a character that is read in some words only
_LONGEST_DATA_PATH = 158  # bytes: espeak 1.52 cuts a longer one off and then ends the process
_TONES = {"55": "1", "35": "2", "214": "3", "21": "3", "51": "4", "11": "5"}
_HAN = re.compile("([\u3400-\u9fff]+)")
_TONAL = frozenset(("chr", "cmn", "hak", "my", "shn", "th", "vi", "yue"))  # voices whose digits are tones
# espeak's own notation, left where its tables of IPA have gaps; some of it would pass for punctuation.
_ARTEFACT = re.compile(r"[rsi]\.|s̪-|[!-`{-~gεΦ\x00-\x1f]")
_IPA = {
    **{"r.": "ɽ", "s.": "ʂ", "i.": "ɨ", "s̪-": "s̪ˤ"},  # Indian ड़, Chinese, Arabic ص
    **{"?": "ʔ", "`": "ʼ", ":": "ː", "^": "ʲ", "+": "˩"},  # Danish, Amharic, Scots, Estonian, Punjabi
    **{"#": "\u0325", '"': "\u0308", "[": "\u032a"},  # Icelandic voiceless, Russian centralised, Kyrgyz dental
    **{"A": "ɑ", "S": "ʃ", "X": "χ", "Z": "ʒ", "Φ": "ɸ", "ε": "ɛ", "g": "ɡ"},
}
_IPA_OF_VOICE = {"ko": {"-": "\u0348"}}  # tense: 빠 is p- there; elsewhere it marks a variant, as in French lə-
_FLAG = re.compile(r"(\([a-z][^()]*\))")


class Espeak:
    """espeak-ng, one back end per voice. Phones are IPA; Mandarin tones are the digits 1 to 4 and 5 for none."""

    def __init__(self, *, stress: bool) -> None:
        """Raises BackendError where there is no espeak library, or one that can't start."""
        module = import_phonemizer()
        _choose_library(module)
        self._stress = stress
        self._module = module
        wrapper = start(module.espeak.wrapper.EspeakWrapper)
        self._dictionaries = Path(wrapper.data_path)
        self._voices: dict[str, str] = {}
        self._names: dict[str, str] = {}
        for voice in wrapper.available_voices():
            if not voice.identifier.startswith("mb/"):
                self._voices.setdefault(voice.language, voice.identifier)
                self._names.setdefault(voice.language, voice.name)
        number = ".".join(str(part) for part in wrapper.version)
        self.version = f"espeak-ng {number}, phonemizer {version_of('phonemizer')}"
        # per object, not per class: a cache on the method would keep every Espeak alive
        self._backend = functools.cache(self._new_backend)
        self.voice = functools.cache(self._find_voice)
        self._letter_word = functools.cache(self._find_letter_word)
        self._spells = functools.cache(self._find_spelled)
        self.is_lost = functools.cache(self._is_lost)
        self.is_stray = functools.cache(self._is_stray)
        self.lost_in = functools.lru_cache(REMEMBERED_WORDS)(self._lost_in)

    def _find_voice(self, language: str) -> str | None:
        """espeak's name for a language code, or None where it has no voice, or one without its dictionary."""
        name = ESPEAK_VOICES.get(language, language)
        return name if name in self._voices and self._has_dictionary(name) else None

    def languages(self) -> dict[str, str]:
        """The English name of each language, by code."""
        known = {code: self.voice(code) for code in {*self._voices, *ESPEAK_VOICES}}
        return {code: self._names[voice] for code, voice in sorted(known.items()) if voice}

    def read(self, chunks: Sequence[str], voice: str) -> list[str]:
        """N chunks → N strings of phones, words apart by one space; empty where the voice says nothing."""
        readings: list[str] = self._backend(voice).phonemize(list(chunks), strip=True)
        if len(readings) != len(chunks):
            raise ContractError(f"phonemizer gave {len(readings)} readings for {len(chunks)} chunks: {chunks!r}")
        return [_without_artefacts(reading, voice) for reading in readings]

    def _new_backend(self, voice: str) -> Any:
        cls = _mandarin(self._module.EspeakBackend) if voice.startswith("cmn") else self._module.EspeakBackend
        return cls(voice, with_stress=self._stress, language_switch="remove-flags", logger=quiet_logger())

    def _has_dictionary(self, voice: str) -> bool:
        """A few voices of a build are listed without their dictionary, and then say nothing at all (fo, in 1.52)."""
        name = voice.split("-")[0]
        file = self._dictionaries / "lang" / self._voices[voice]
        if file.is_file():
            found = re.search(r"^dictionary\s+(\S+)", file.read_text(encoding="utf-8", errors="replace"), re.M)
            name = found.group(1) if found else name
        return (self._dictionaries / f"{name}_dict").is_file()

    def _is_lost(self, char: str, voice: str) -> bool:
        """Whether the voice says nothing for a character, or reads it aloud as a letter of something foreign.

        Found out by asking the voice, once per character: "Chinese letter", "letter two zero …", or letters by name.
        """
        script = unicodedata.name(char, "").split(" ")[0].split("-")[0]
        if script in _SCRIPT_WORDS and self._spells(script, voice):
            return True
        if voice.startswith("cmn") and _HAN.fullmatch(char) and self._backend(voice).is_foreign(char):
            return True
        alone = self._bare(char, voice)
        if script.startswith(_KANA) and self._letter_word(voice) in alone:
            # small kana and the long mark say something only after another kana
            before, after = self._bare("ふ", voice), self._bare("ふ" + char, voice)
            return before == after or self._letter_word(voice) in after
        return not alone or self._letter_word(voice) in alone

    def _is_stray(self, char: str, voice: str) -> bool:
        """Whether the voice calls a character a letter when it stands alone, though it may read it beside others."""
        return self._letter_word(voice) in self._bare(char, voice)

    def spells(self, reading: str, voice: str) -> bool:
        """Whether a Japanese reading has "letter" in it, which no word of kana explains: espeak spelled some of it."""
        return voice == "ja" and self._letter_word(voice) in re.sub("[ˈˌ ]", "", reading)

    def _lost_in(self, word: str, voice: str) -> str:
        """Characters without which fewer letters are called in a word; and strays of kana that change nothing in it."""
        reading, letter = self._bare(word, voice), self._letter_word(voice)
        spelled = voice == "ja" and letter in reading
        places = [place for place, char in enumerate(word) if spelled or self.is_stray(char, voice)]
        lost = []
        for place in places:
            without = self._bare(word[:place] + word[place + 1 :], voice)
            stray = unicodedata.name(word[place], "").startswith(_KANA) and self.is_stray(word[place], voice)
            if without.count(letter) < reading.count(letter) or (stray and without == reading):
                lost.append(word[place])
        if not lost:  # one may hide behind another
            rest = "".join(char for place, char in enumerate(word) if place not in places)
            if self._bare(rest, voice).count(letter) < reading.count(letter):
                lost = [word[place] for place in places]
        return "".join(dict.fromkeys(lost))

    def _bare(self, text: str, voice: str) -> str:
        return re.sub("[ˈˌ ]", "", self.read([text], voice)[0]) if text else ""

    def _find_letter_word(self, voice: str) -> str:
        word = os.path.commonprefix([self._bare(char, voice) for char in _UNKNOWN])
        # its first vowel changes where another word stands before it ("ʌkʂəɾ", "cˈiəniəkʂəɾ")
        return (word[1:] if len(word) > 3 else word) or "\0"

    def _find_spelled(self, script: str, voice: str) -> bool:
        word = _SCRIPT_WORDS[script]
        return len(self._bare(word, voice)) >= 2 * len(word)


def _without_artefacts(reading: str, voice: str) -> str:
    """A reading in IPA: what espeak leaves in its own notation is rewritten, or left out where it marks no sound."""
    if not _ARTEFACT.search(reading):
        return reading
    of_voice = _IPA_OF_VOICE.get(voice, {})
    tonal = voice.partition("-")[0] in _TONAL

    def rewrite(found: re.Match[str]) -> str:
        mark = found.group()
        return mark if tonal and mark.isdigit() else of_voice.get(mark) or _IPA.get(mark, "")

    return " ".join(_ARTEFACT.sub(rewrite, reading).split())


def number_tones(ipa: str, mnemonics: str) -> str | None:
    """espeak's Mandarin in IPA, with tones as one digit each, taken from its other notation; None if they don't match.

    Its IPA keeps only the first digit of a tone: 妈 (55) and 骂 (51) both end in 5, and 35 becomes ɜ, which is also a
    vowel. The other notation has all digits. Both must be split by "_". Retroflex phones lose their full stop (s. → ʂ,
    i. → ɨ), as that is punctuation here.
    """
    tones = [tone for own, part in _by_language(mnemonics) if own for tone in _TONE_MNEMONIC.findall(part)]
    marks = sum(len(_TONE_IPA.findall(part)) for own, part in _by_language(ipa) if own)
    if len(tones) != marks:
        return None
    following = iter(tones)

    def number(found: re.Match[str]) -> str:
        return _TONES.get(next(following), found.group())  # a lone digit, as in i3, is a vowel's

    return "".join(
        _TONE_IPA.sub(number, part).replace("s.", "ʂ").replace("i.", "ɨ") if own else part
        for own, part in _by_language(ipa)
    )


_TONE_MNEMONIC = re.compile(r"\d+(?=[_|\s]|$)")
_TONE_IPA = re.compile(r"[125ɜ](?=[_\s]|$)")


def _by_language(line: str) -> Iterator[tuple[bool, str]]:
    """Parts of a line of espeak's, and whether they are Mandarin; the flags between them are parts too."""
    own = True
    for part in _FLAG.split(line):
        if _FLAG.fullmatch(part):
            own = part.startswith("(cmn")
            yield False, part
        else:
            yield own, part


def _mandarin(base: type) -> type:
    class Mandarin(base):
        """phonemizer's espeak back end, with whole tones."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._known = mandarin.Known()

        def _phonemize_aux(self, text: list[str], offset: int, separator: Any, strip: bool) -> tuple[list[str], list]:
            lines = []
            for number, line in enumerate(text, start=1):
                lines.append(self._postprocess_line(self._read_tones(line), number, separator, strip)[0])
            return lines, []

        def is_foreign(self, char: str) -> bool:
            """Whether a Han character is read by another language's voice, as English letters."""
            return mandarin.is_foreign(self._line(char.replace("兒", "儿")))

        def _read_tones(self, line: str) -> str:
            """Phones apart by "_", tones as digits.

            Raises:
                Unspoken: a word in Han characters that espeak spells in English, and that no rule here reads.
            """
            line = line.replace("兒", "儿")
            if "儿" in line:
                read = mandarin.erhua(line, self._espeak.text_to_phonemes, self._read_tones)
                if read is not None:
                    return read
            ipa = self._line(line)
            if not mandarin.is_foreign(ipa):
                return ipa
            word = mandarin.spelled_word(line, self._line)
            if word is None:
                return ipa
            begin, end = word
            if "儿" in line[begin:end] or end - begin == 1:
                raise Unspoken(line[begin:end], "word that espeak spells in English", "zh")
            parts = [line[:begin], *line[begin:end], line[end:]]
            return " ".join(self._read_tones(part) for part in parts if part.strip())

        def _line(self, line: str) -> str:
            notation = _mnemonics(self._espeak, line)
            known = self._known.read(notation)
            if known is not None:
                return known
            ipa: str = self._espeak.text_to_phonemes(line)
            toned = number_tones(ipa, notation)
            if toned is not None:
                self._known.learn(notation, toned)
                return mandarin.read_iong(toned)
            # letters of India or Korea can put the notations out of step; the Chinese is then read by itself
            parts = [part for part in _HAN.split(line) if part.strip()]
            return " ".join(self._line(part) for part in parts) if len(parts) > 1 else ipa

    return Mandarin


def _mnemonics(wrapper: Any, text: str) -> str:
    """Like the wrapper's text_to_phonemes, in espeak's own notation, for which phonemizer has no switch."""
    import ctypes

    pointer = ctypes.pointer(ctypes.c_char_p(text.encode()))
    lines = []
    while pointer.contents.value is not None:
        line = wrapper._espeak.text_to_phonemes(pointer, 1, ord("_") << 8)
        if line:
            lines.append(line.decode())
    return " ".join(lines)


def _choose_library(module: Any) -> None:
    """pip's espeak-ng where it is installed, else the system's. The user's PHONEMIZER_ESPEAK_LIBRARY wins over both."""
    if "PHONEMIZER_ESPEAK_LIBRARY" in os.environ:
        return
    try:
        import espeakng_loader
    except ImportError:
        return
    data = espeakng_loader.get_data_path()
    if len(os.fsencode(data)) > _LONGEST_DATA_PATH:
        raise BackendError(f"{data}: espeak can't hold a path this long; put the environment nearer to the root")
    # both, or the library looks for its data where it was built and ends the process
    module.EspeakBackend.set_library(espeakng_loader.get_library_path())
    module.espeak.wrapper.EspeakWrapper.set_data_path(data)


def load(stress: bool) -> Espeak:
    return Espeak(stress=stress)
