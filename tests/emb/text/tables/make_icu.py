"""Writes icu.tsv: numbers in words by the rules of ICU (CLDR's RBNF and units), the second engine of test_spoken.py.

    apt install python3-icu && /usr/bin/python3 tests/emb/text/tables/make_icu.py

Columns: language, kind, written, spoken. Made with ICU 72.1.
"""

from pathlib import Path

import icu  # type: ignore[import-not-found]

LANGUAGES = ["en", "zh", "ko", "de", "fr", "es", "it", "pt", "ru", "nl", "pl", "da", "nb", "sv", "tr", "uk", "hi", "ar", "vi", "hu", "fi", "id", "eo"]
WHOLE = [
    *range(0, 22), *(25, 28, 30, 31, 40, 50, 55, 60, 66, 70, 71, 75, 77, 80, 81, 90, 91, 95, 99, 100, 101, 110, 111, 121),
    *(200, 212, 300, 365, 500, 700, 900, 999, 1000, 1001, 1100, 1234, 2000, 5000, 9999, 10_000, 12_345, 20_000),
    *(100_000, 123_456, 1_000_000, 2_000_000),
]  # fmt: skip
SIGNED = ["-1", "-5", "-12", "-40", "0.5", "3.14", "2.75", "10.01", "99.9", "-0.5", "-3.2"]
DECIMAL_COMMA = frozenset(["de", "fr", "es", "it", "pt", "ru", "nl", "pl", "da", "nb", "sv", "tr", "uk", "vi"])
YEARS = [1100, 1215, 1492, 1789, 1848, 1900, 1905, 1914, 1945, 1984, 1999]
ORDINALS = [*range(1, 32), 40, 100]
UNITS = [1, 2, 3, 5, 11, 20, 21, 22, 40, 100]


def speller(language: str, rules: str | None = None) -> "icu.RuleBasedNumberFormat":
    locale = icu.Locale("pt_PT" if language == "pt" else language)
    formatter = icu.RuleBasedNumberFormat(icu.URBNFRuleSetTag.SPELLOUT, locale)
    if rules:
        formatter.setDefaultRuleSet(rules)
    return formatter


def lines() -> list[tuple[str, str, str, str]]:
    out = []
    for language in LANGUAGES:
        spell = speller(language)
        out += [(language, "whole", str(value), spell.format(value)) for value in WHOLE]
        if language in ("hu", "fi", "id", "eo"):
            continue
        mark = "," if language in DECIMAL_COMMA else "٫" if language == "ar" else "."
        for written in SIGNED:
            if language != "ru" or "." not in written:
                out.append(
                    (
                        language,
                        "signed",
                        written.replace(".", mark),
                        spell.format(float(written) if "." in written else int(written)),
                    )
                )
        formatter = icu.NumberFormatter.withLocale(icu.Locale("pt_PT" if language == "pt" else language))
        form = formatter.unitWidth(icu.UNumberUnitWidth.FULL_NAME)
        for value in UNITS:
            for unit, sign in (("celsius", " °C"), ("percent", "%")):
                if language == "ar" or (unit == "percent" and language in ("zh", "ko", "vi")):
                    continue
                said = form.unit(icu.MeasureUnit.forIdentifier(unit)).formatInt(value)
                said = said.replace(str(value), spell.format(value))
                out.append((language, unit, f"{value}{sign}", said))
    for language in ("en", "de", "nl", "da", "nb", "sv"):
        spell = speller(language, "%spellout-numbering-year")
        out += [(language, "year", str(value), spell.format(value)) for value in YEARS]
    masculine = "%spellout-ordinal-masculine"
    for language, rules in (("en", "%spellout-ordinal"), ("fr", masculine), ("nl", "%spellout-ordinal"), ("es", masculine),
                            ("it", masculine), ("pt", masculine), ("nb", masculine), ("da", "%spellout-ordinal-common"),
                            ("sv", "%spellout-ordinal-masculine"), ("ru", "%spellout-ordinal-neuter-genitive")):  # fmt: skip
        spell = speller(language, rules)
        out += [(language, "ordinal", str(value), spell.format(value)) for value in ORDINALS]
    return out


if __name__ == "__main__":
    rows = ["\t".join(line) for line in lines()]
    Path(__file__).with_name("icu.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    print(len(rows))
