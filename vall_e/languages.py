"""Codes of languages: ISO 639-1 (https://www.loc.gov/standards/iso639-2/php/code_list.php), and what Whisper adds."""

from __future__ import annotations

import functools

_CODES = (
    "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el "
    "en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it "
    "iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt "
    "my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl "
    "sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo "
    "za zh zu "
)
ISO_639_1 = frozenset(_CODES.split())
OF_WHISPER = frozenset(("haw", "jw", "yue"))  # its names for Hawaiian, Javanese and Cantonese


def is_known(code: str) -> bool:
    """Whether `code` is of ISO 639-1 or one that Whisper has besides.

    Example:
        >>> is_known("en"), is_known("xx"), is_known("yue")
        (True, False, True)
    """
    return code in ISO_639_1 or code in OF_WHISPER


@functools.lru_cache(1_000)
def parse_language(text: str) -> str | None:
    """The code of a language that a person or a corpus wrote as a code with or without region, or as a name.

    Example:
        >>> [parse_language(text) for text in ("eng", "pt-BR", "zh_TW", "zh-HK", "English", "xx")]
        ['en', 'pt', 'zh', 'yue', 'en', None]
    """
    import langcodes.tag_parser

    text = text.strip()
    if is_known(text.lower()):
        return text.lower()
    if text.lower().replace("_", "-") == "zh-hk":  # as Common Voice and Google name Cantonese
        return "yue"
    try:
        tag = langcodes.Language.get(text.replace("_", "-"))
        code = tag.language if is_known(tag.language or "") else tag.prefer_macrolanguage().language
    except langcodes.tag_parser.LanguageTagError:
        code = None
    if code is not None and is_known(code):
        return code
    try:
        code = langcodes.find(text).language
    except LookupError:
        return None
    return code if code is not None and is_known(code) else None
