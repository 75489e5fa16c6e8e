"""Ordinal and Roman numbers in words: 3rd, 1er, 3. Mai, Henry VIII, World War II."""

from __future__ import annotations

import re
from collections.abc import Callable

from vall_e.emb.text.base import Fail
from vall_e.emb.text.numerals import cardinal, ordinal
from vall_e.emb.text.spoken_words import Words

_ROMAN = r"(?=[XVI])X{0,3}(?:IX|IV|V?I{0,3})"
# words before a Roman number that is read as a plain one
_COUNTED_BY = {
    "en": "War|Chapter|Part|Volume|Act|Scene|Phase|Type|Class|Level|Book|Section|Article|Title|Stage|Mark|Episode|"
    "Bowl|Table|Figure|Appendix|Round|Unit|Grade|Vatican|Apollo|Factor|Schedule",
    "de": "Teil|Kapitel|Band|Akt|Phase|Typ|Klasse|Artikel|Abschnitt|Stufe|Buch",
    "fr": "tome|chapitre|partie|acte|type|phase|livre|article|volume|scène|classe|siècle",
    "es": "tomo|capítulo|parte|acto|tipo|fase|libro|artículo|volumen|siglo|clase",
    "it": "tomo|capitolo|parte|atto|tipo|fase|libro|articolo|volume|classe",
    "pt": "tomo|capítulo|parte|ato|tipo|fase|livro|artigo|volume|século|classe",
}  # fmt: skip
_CENTURY = {"it": "secolo"}  # an ordinal after it
# given names of monarchs and popes, whose number is theirs
_RULERS = {
    "en": "Henry|Louis|Elizabeth|Charles|George|Edward|William|Richard|James|Philip|Philippe|Mary|Francis|Frederick|"
    "Catherine|Peter|Paul|John|Benedict|Pius|Leo|Gregory|Innocent|Clement|Urban|Alexander|Nicholas|Ivan|Napoleon|"
    "Ramses|Ramesses|Tutmose|Darius|Xerxes|Ptolemy|Wilhelm|Victoria|Victor|Ferdinand|Alfonso|Gustav|Christian|Harald|"
    "Haakon|Malcolm|Robert|David|Kenneth|Otto|Theodosius|Constantine|Justinian|Julius|Sixtus|Boniface|Margaret|Joseph",
    "de": "Ludwig|Heinrich|Karl|Friedrich|Wilhelm|Otto|Franz|Joseph|Leopold|Elisabeth|Georg|Eduard|Philipp|Maximilian|"
    "Johannes|Paul|Pius|Benedikt|Leo|Gregor|Alexander|Nikolaus|Peter|Napoleon|Konrad|August|Gustav|Christian",
    "fr": "Louis|Henri|Charles|François|Philippe|Napoléon|Élisabeth|Elisabeth|Édouard|Georges|Jean|Paul|Pie|Benoît|Léon|"
    "Grégoire|Alexandre|Nicolas|Guillaume|Richard|Clovis",
    "es": "Luis|Enrique|Carlos|Felipe|Alfonso|Fernando|Isabel|Juan|Pablo|Pío|Benedicto|León|Gregorio|Alejandro|Napoleón|"
    "Jorge|Eduardo|Jaime|Pedro|Sancho|Ramiro",
    "it": "Luigi|Enrico|Carlo|Filippo|Emanuele|Umberto|Elisabetta|Giovanni|Paolo|Pio|Benedetto|Leone|Gregorio|Alessandro|"
    "Napoleone|Giorgio|Edoardo|Federico|Francesco|Sisto|Clemente",
    "pt": "Luís|Henrique|Carlos|Filipe|Afonso|Fernando|Isabel|João|Paulo|Pio|Bento|Leão|Gregório|Pedro|Maria|Manuel|"
    "Sancho|Dinis|Jorge|Eduardo|Sebastião|José",
}  # fmt: skip


def roman_value(numeral: str) -> int:
    """1 … 39 of a Roman numeral in capitals.

    Example:
        >>> roman_value("XIV")
        14
    """
    values = [{"I": 1, "V": 5, "X": 10}[char] for char in numeral]
    return sum(-value if value < max(values[place:]) else value for place, value in enumerate(values))


def read_roman(text: str, language: str, fail: Fail) -> str:
    """Roman numbers in words after what says how they are read; two letters and more without that have no reading."""
    if not re.search(r"\b[IVX]+", text):
        return text
    if language in _RULERS:
        counted, rulers = _COUNTED_BY[language], _RULERS[language]
        if language in _CENTURY:
            text = re.sub(
                rf"(?i:\b({_CENTURY[language]}))\s({_ROMAN})\b",
                lambda found: f"{found.group(1)} {ordinal(roman_value(found.group(2)), language)}",
                text,
            )
        text = re.sub(
            rf"\b((?i:{counted}))\s({_ROMAN})\b",
            lambda found: f"{found.group(1)} {cardinal(roman_value(found.group(2)), language)}",
            text,
        )
        dot = r"\.?" if language == "de" else ""
        text = re.sub(
            rf"\b({rulers})\s({_ROMAN})\b({dot})",
            lambda found: _ruler(found, text, language),
            text,
        )
        if language == "fr":
            text = re.sub(
                rf"\b({_ROMAN})(?:e|ème|er)\b(?=\ssiècle)", lambda f: _french_ordinal(roman_value(f.group(1))), text
            )
    if language in ("ru", "uk") and (found := re.search(r"\b[IVX]+\b", text)):
        raise fail(found.group(), "Roman number")
    for found in re.finditer(r"\b[IVX]{2,}\b", text):
        if re.fullmatch(_ROMAN, found.group()):
            raise fail(text[max(0, found.start() - 12) : found.end()], "Roman number")
    return text


def _ruler(found: re.Match[str], text: str, language: str) -> str:
    name, numeral, dot = found.groups()
    value = roman_value(numeral)
    alone = len(numeral) == 1
    if language == "en":
        after = text[found.end() :]
        # "when Henry I saw": the pronoun; the number stands before a mark, a possessive or a few words
        if numeral == "I" and not re.match(r"[.,;:!?)”\"]|'s\b|\s(?:of|was|and|became|died|ruled|reigned)\b|$", after):
            return found.group()
        return f"{name} the {ordinal(value, 'en')}"
    if language == "de":
        if alone and not dot:
            return found.group()
        ends = not text[found.end() :].strip(' "”)')
        return f"{name} der {str(ordinal(value, 'de')).capitalize()}" + ("." if ends and dot else "")
    if language == "fr":
        return f"{name} {'premier' if value == 1 else cardinal(value, 'fr')}"
    if language in ("es", "pt"):  # ordinals to ten, then cardinals
        feminine = name in ("Isabel", "Maria")
        said = str(ordinal(value, language) if value <= 10 else cardinal(value, language))
        if value <= 10 and feminine:
            said = said.removesuffix("o") + "a"
        return f"{name} {said}"
    said = str(ordinal(value, language))
    return f"{name} {said.removesuffix('o') + 'a' if name == 'Elisabetta' else said}"


def read_written_ordinals(text: str, language: str, words: Words, fail: Fail) -> str:
    """1st, 1er, 2º, 3. Mai and their like in words."""
    reader = _READERS.get(language)
    return reader(text, words, fail) if reader else text


def _english(text: str, words: Words, fail: Fail) -> str:
    return re.sub(
        r"(?<![\w.,])([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:st|nd|rd|th)\b",
        lambda found: str(ordinal(int(found.group(1).replace(",", "")), "en")),
        text,
    )


def _french_ordinal(value: int) -> str:
    return "premier" if value == 1 else str(ordinal(value, "fr"))


def _french(text: str, words: Words, fail: Fail) -> str:
    text = re.sub(r"(?<![\w.,])1(?:re|ère)\b", "première", text)
    return re.sub(r"(?<![\w.,])([0-9]{1,4})(?:er|e|ème|nd|nde)\b", lambda f: _french_ordinal(int(f.group(1))), text)


def _dutch(text: str, words: Words, fail: Fail) -> str:
    return re.sub(r"(?<![\w.,])([0-9]{1,4})(?:e|de|ste)\b", lambda f: str(ordinal(int(f.group(1)), "nl")), text)


def _with_sign(text: str, language: str) -> str:
    def put(found: re.Match[str]) -> str:
        said = str(ordinal(int(found.group(1)), language))
        if found.group(2) != "ª":
            return said
        return " ".join(word.removesuffix("o") + "a" if word.endswith("o") else word for word in said.split())

    return re.sub(r"(?<![\w.,])([0-9]{1,2})\.?([ºª])", put, text)


_GERMAN_BEFORE = {
    **dict.fromkeys(
        ("am", "vom", "zum", "beim", "im", "dem", "den", "des", "einem", "einen", "bis zum", "ab dem"), "n"
    ),
    **dict.fromkeys(("der", "die", "das", "eine"), ""),
    "ein": "r",
    "zur": "n",
}


def _german(text: str, words: Words, fail: Fail) -> str:
    def put(found: re.Match[str]) -> str:
        before, value = found.group(1), int(found.group(2))
        if before is None:
            return f"{ordinal(value, 'de')}r"  # Montag, 3. Mai: dritter Mai
        return f"{before} {ordinal(value, 'de')}{_GERMAN_BEFORE[before.lower()]}"

    before = "|".join(sorted((re.escape(key) for key in _GERMAN_BEFORE), key=len, reverse=True))
    months = "|".join(words.months)
    text = re.sub(rf"(?i:\b({before})\s)?(?<![\w.,])([0-9]{{1,2}})\.(?=\s(?:{months})\b)", put, text)
    text = re.sub(rf"(?i:\b({before})\s)(?<![\w.,])([0-9]{{1,3}})\.(?=\s[^\W\d_])", put, text)
    if found := re.search(r"(?<![\w.,])[0-9]{1,3}\.\s[^\W\d_]+", text):
        raise fail(found.group(), "ordinal number or end of sentence")
    return text


def _nordic(text: str, words: Words, fail: Fail, language: str) -> str:
    months = "|".join(words.months)
    mark = r"\.?" if language == "sv" else r"\."
    text = re.sub(
        rf"(?<![\w.,])([0-9]{{1,2}}){mark}(?=\s(?:{months})\b)", lambda f: str(ordinal(int(f.group(1)), language)), text
    )
    if language == "sv":
        return re.sub(r"(?<![\w.,])([0-9]{1,3}):[ea]\b", lambda f: str(ordinal(int(f.group(1)), "sv")), text)
    if found := re.search(r"(?<![\w.,])[0-9]{1,3}\.\s[^\W\d_]+", text):
        raise fail(found.group(), "ordinal number or end of sentence")
    return text


_READERS: dict[str, Callable[[str, Words, Fail], str]] = {
    "en": _english,
    "fr": _french,
    "nl": _dutch,
    "de": _german,
    "es": lambda text, words, fail: _with_sign(text, "es"),
    "it": lambda text, words, fail: _with_sign(text, "it"),
    "pt": lambda text, words, fail: _with_sign(text, "pt"),
    "da": lambda text, words, fail: _nordic(text, words, fail, "da"),
    "nb": lambda text, words, fail: _nordic(text, words, fail, "nb"),
    "sv": lambda text, words, fail: _nordic(text, words, fail, "sv"),
}
