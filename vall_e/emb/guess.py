"""What language a text is in, by langdetect with a fixed seed. https://github.com/Mimino666/langdetect"""

from __future__ import annotations

from collections.abc import Sequence


def shares(text: str, allowed: Sequence[str] = ()) -> dict[str, float] | None:
    """ISO 639-1 code → probability, of those that are likely at all; None where nothing can be said, as of "1984".

    Args:
        text: in any language.
        allowed: the codes to choose among; none: all that langdetect knows.
    """
    from langdetect import DetectorFactory, LangDetectException, detector_factory

    DetectorFactory.seed = 0  # it draws at random, and gives other answers from run to run without
    detector_factory.init_factory()
    detector = detector_factory._factory.create()  # detect_langs() with a choice of languages
    if allowed:
        known = detector_factory._factory.get_lang_list()
        chosen = [name for name in known if name.partition("-")[0] in allowed]
        if not chosen:
            return None
        detector.set_prior_map({name: 1 / len(chosen) for name in chosen})
    detector.append(text)
    try:
        found = detector.get_probabilities()
    except LangDetectException:
        return None
    of_code: dict[str, float] = {}
    for each in found:
        code = each.lang.partition("-")[0]
        of_code[code] = of_code.get(code, 0.0) + each.prob
    return of_code or None
