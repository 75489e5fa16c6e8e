"""The words that stand for signs, by language: what `spoken` puts in the place of marks, units and abbreviations.

Names of minus and of the decimal mark are those of ICU's rules for spelling numbers out; of percent, degrees and units
those of CLDR (https://cldr.unicode.org), which the library Babel carries; the rest is any grammar's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Words:
    """One language.

    Attributes:
        decimal: the mark before decimals; `groups`: marks between groups of three digits, a space among them.
        to: the word of a range, None where it needs another case than the number's name.
        currencies: sign → names, by CLDR's plural categories ("one", "few", "many", "other"; one name serves all).
        dot: the word for a full stop inside a name or an address.
        number_sign: the word for №.
        halves: what ½ and its like are called.
        months: names that a day's number stands beside; before them where `day_first`.
        abbreviations: written → spoken, full stops among the written.
        years_after: words after which four digits are a year.
    """

    decimal: str
    groups: str
    minus: str
    point: str
    to: str | None = None
    percent: str | None = None
    celsius: str | None = None
    currencies: Mapping[str, str] = field(default_factory=dict)
    dot: str | None = None
    number_sign: str | None = None
    halves: Mapping[str, str] = field(default_factory=dict)
    months: tuple[str, ...] = ()
    abbreviations: Mapping[str, str] = field(default_factory=dict)
    years_after: tuple[str, ...] = ()


def _money(dollar: str, euro: str, pound: str, yen: str) -> dict[str, str]:
    return {"$": dollar, "€": euro, "£": pound, "¥": yen}


_ENGLISH_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
WORDS: dict[str, Words] = {
    "en": Words(
        decimal=".", groups=",", minus="minus", point="point", to="to", dot="dot", number_sign="number",
        currencies=_money("dollar|dollars", "euro|euros", "pound|pounds", "yen|yen") | {"₹": "rupee|rupees", "₩": "won"},
        halves={"½": "one half", "⅓": "one third", "¼": "one quarter", "⅔": "two thirds", "¾": "three quarters"},
        months=_ENGLISH_MONTHS,
        abbreviations={
            "Dr.": "Doctor", "Mr.": "Mister", "Mrs.": "Missis", "Ms.": "Miz", "Prof.": "Professor", "Jr.": "Junior",
            "Sr.": "Senior", "Gen.": "General", "Col.": "Colonel", "Lt.": "Lieutenant", "Capt.": "Captain",
            "Sgt.": "Sergeant", "Rev.": "Reverend", "Hon.": "Honorable", "Gov.": "Governor", "Sen.": "Senator",
            "e.g.": "for example", "i.e.": "that is", "etc.": "et cetera", "vs.": "versus", "approx.": "approximately",
            "Mt.": "Mount", "Ft.": "Fort", "Dept.": "Department", "Inc.": "Incorporated", "Ltd.": "Limited",
            "Co.": "Company", "Corp.": "Corporation", "a.m.": "A M", "p.m.": "P M",
        },
        years_after=("in", "since", "until", "till", "before", "after", "by", "during", "from", "of", "year", "circa",
                     "around", "early", "late", "spring", "summer", "autumn", "fall", "winter", *_ENGLISH_MONTHS),
    ),
    "de": Words(
        decimal=",", groups=". '", minus="minus", point="Komma", to="bis",        dot="Punkt", number_sign="Nummer", currencies=_money("Dollar", "Euro", "Pfund", "Yen"),
        halves={"½": "ein halb", "¼": "ein Viertel", "¾": "drei Viertel", "⅓": "ein Drittel", "⅔": "zwei Drittel"},
        months=("Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober",
                "November", "Dezember", "Jänner"),
        abbreviations={
            "d.h.": "das heißt", "z.B.": "zum Beispiel", "u.a.": "unter anderem", "usw.": "und so weiter",
            "bzw.": "beziehungsweise", "ca.": "circa", "Dr.": "Doktor", "Prof.": "Professor", "Nr.": "Nummer",
            "St.": "Sankt", "evtl.": "eventuell", "ggf.": "gegebenenfalls", "inkl.": "inklusive", "vgl.": "vergleiche",
            "o.ä.": "oder ähnliches", "u.U.": "unter Umständen", "z.T.": "zum Teil", "Mio.": "Millionen",
            "Mrd.": "Milliarden", "Hr.": "Herr", "Fr.": "Frau", "Str.": "Straße",
        },
        years_after=("Jahr", "Jahre", "Jahres", "seit", "von", "bis", "ab", "vor", "nach", "um", "in", "Sommer", "Winter",
                     "Frühjahr", "Herbst", "Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August",
                     "September", "Oktober", "November", "Dezember"),
    ),
    "fr": Words(
        decimal=",", groups=" ", minus="moins", point="virgule", to="à", dot="point", number_sign="numéro",
        currencies=_money("dollar|dollars", "euro|euros", "livre|livres", "yen|yens"),
        halves={"½": "un demi", "¼": "un quart", "¾": "trois quarts", "⅓": "un tiers", "⅔": "deux tiers"},
        abbreviations={"M.": "monsieur", "Mme": "madame", "MM.": "messieurs", "Mlle": "mademoiselle", "Dr": "docteur",
                       "etc.": "et cetera", "c.-à-d.": "c'est-à-dire", "p.ex.": "par exemple", "St.": "saint"},
    ),
    "es": Words(
        decimal=",", groups=". ", minus="menos", point="coma", to="a", dot="punto", number_sign="número",
        currencies=_money("dólar|dólares", "euro|euros", "libra|libras", "yen|yenes"),
        halves={"½": "un medio", "¼": "un cuarto", "¾": "tres cuartos", "⅓": "un tercio", "⅔": "dos tercios"},
        abbreviations={"Sr.": "señor", "Sra.": "señora", "Srta.": "señorita", "Dr.": "doctor", "Dra.": "doctora",
                       "Ud.": "usted", "Uds.": "ustedes", "etc.": "etcétera", "p.ej.": "por ejemplo", "EE.UU.": "Estados Unidos",
                       "Prof.": "profesor", "D.": "don", "Dña.": "doña"},
    ),
    "it": Words(
        decimal=",", groups=". ", minus="meno", point="virgola", to="a", dot="punto", number_sign="numero",
        currencies=_money("dollaro|dollari", "euro|euro", "sterlina|sterline", "yen|yen"),
        halves={"½": "un mezzo", "¼": "un quarto", "¾": "tre quarti", "⅓": "un terzo", "⅔": "due terzi"},
        abbreviations={"Sig.": "signor", "Sig.ra": "signora", "Dott.": "dottor", "Dr.": "dottor", "Prof.": "professor",
                       "ecc.": "eccetera", "es.": "esempio", "Ing.": "ingegner", "Avv.": "avvocato"},
    ),
    "pt": Words(
        decimal=",", groups=". ", minus="menos", point="vírgula", to="a", dot="ponto", number_sign="número",
        currencies=_money("dólar|dólares", "euro|euros", "libra|libras", "iene|ienes"),
        halves={"½": "um meio", "¼": "um quarto", "¾": "três quartos", "⅓": "um terço", "⅔": "dois terços"},
        abbreviations={"Sr.": "senhor", "Sra.": "senhora", "Dr.": "doutor", "Dra.": "doutora", "Prof.": "professor",
                       "etc.": "et cetera", "p.ex.": "por exemplo", "V.Exa.": "vossa excelência"},
    ),
    "ru": Words(
        decimal=",", groups=" ", minus="минус", point="целых", dot="точка", number_sign="номер",
        currencies=_money("доллар|доллара|долларов", "евро", "фунт|фунта|фунтов", "иена|иены|иен")
        | {"₽": "рубль|рубля|рублей"},
        months=("января", "февраля", "марта", "апреля", "мая", "июня", "июля", "августа", "сентября", "октября",
                "ноября", "декабря"),
        abbreviations={"т.е.": "то есть", "т.д.": "так далее", "т.п.": "тому подобное", "т.к.": "так как",
                       "напр.": "например", "г-н": "господин", "г-жа": "госпожа"},
    ),
    "nl": Words(
        decimal=",", groups=". ", minus="min", point="komma", to="tot", dot="punt", number_sign="nummer",
        currencies=_money("dollar", "euro", "pond", "yen"),
        halves={"½": "een half", "¼": "een kwart", "¾": "driekwart", "⅓": "een derde", "⅔": "twee derde"},
        abbreviations={"bijv.": "bijvoorbeeld", "d.w.z.": "dat wil zeggen", "enz.": "enzovoort", "o.a.": "onder andere",
                       "dhr.": "de heer", "mevr.": "mevrouw", "dr.": "dokter", "nr.": "nummer", "ca.": "circa", "jl.": "jongstleden"},
        years_after=("in", "sinds", "jaar", "tot", "vanaf", "voor", "na", "rond"),
    ),
    "pl": Words(
        decimal=",", groups=" ", minus="minus", point="przecinek", dot="kropka", number_sign="numer",
        currencies=_money("dolar|dolary|dolarów", "euro", "funt|funty|funtów", "jen|jeny|jenów"),
        months=("stycznia", "lutego", "marca", "kwietnia", "maja", "czerwca", "lipca", "sierpnia", "września",
                "października", "listopada", "grudnia"),
        abbreviations={"np.": "na przykład", "itd.": "i tak dalej", "itp.": "i tym podobne", "tzn.": "to znaczy",
                       "tj.": "to jest", "m.in.": "między innymi", "tzw.": "tak zwany", "dr": "doktor"},
    ),
    "da": Words(
        decimal=",", groups=". ", minus="minus", point="komma", to="til", dot="punktum", number_sign="nummer",
        currencies=_money("dollar", "euro", "pund", "yen"),
        months=("januar", "februar", "marts", "april", "maj", "juni", "juli", "august", "september", "oktober",
                "november", "december"),
        halves={"½": "en halv", "¼": "en kvart", "¾": "tre kvart"},
        abbreviations={"f.eks.": "for eksempel", "bl.a.": "blandt andet", "dvs.": "det vil sige", "osv.": "og så videre",
                       "ca.": "cirka", "nr.": "nummer", "hr.": "herr", "dr.": "doktor", "m.fl.": "med flere"},
        years_after=("i", "siden", "året", "fra", "til", "før", "efter"),
    ),
    "nb": Words(
        decimal=",", groups=". ", minus="minus", point="komma", to="til", dot="punktum", number_sign="nummer",
        currencies=_money("dollar", "euro", "pund", "yen"),
        months=("januar", "februar", "mars", "april", "mai", "juni", "juli", "august", "september", "oktober",
                "november", "desember"),
        halves={"½": "en halv", "¼": "en kvart", "¾": "tre kvart"},
        abbreviations={"f.eks.": "for eksempel", "bl.a.": "blant annet", "dvs.": "det vil si", "osv.": "og så videre",
                       "ca.": "cirka", "nr.": "nummer", "hr.": "herr", "dr.": "doktor", "m.fl.": "med flere"},
        years_after=("i", "siden", "året", "fra", "til", "før", "etter"),
    ),
    "sv": Words(
        decimal=",", groups=". ", minus="minus", point="komma", to="till", dot="punkt", number_sign="nummer",
        currencies=_money("dollar", "euro", "pund", "yen"),
        months=("januari", "februari", "mars", "april", "maj", "juni", "juli", "augusti", "september", "oktober",
                "november", "december"),
        halves={"½": "en halv", "¼": "en fjärdedel", "¾": "tre fjärdedelar"},
        abbreviations={"t.ex.": "till exempel", "bl.a.": "bland annat", "dvs.": "det vill säga", "osv.": "och så vidare",
                       "ca.": "cirka", "nr.": "nummer", "m.m.": "med mera", "dr.": "doktor", "fr.o.m.": "från och med",
                       "t.o.m.": "till och med"},
        years_after=("år", "året", "sedan", "från", "till", "före", "efter"),
    ),
    "tr": Words(
        decimal=",", groups=". ", minus="eksi", point="virgül", to="ila", dot="nokta", number_sign="numara",
        currencies=_money("dolar", "avro", "sterlin", "yen") | {"₺": "lira"}, halves={"½": "yarım", "¼": "çeyrek"},
        abbreviations={"vb.": "ve benzeri", "vs.": "vesaire", "Dr.": "doktor", "Prof.": "profesör", "örn.": "örneğin"},
    ),
    "uk": Words(
        decimal=",", groups=" ", minus="мінус", point="кома", dot="крапка", number_sign="номер",
        currencies=_money("долар|долари|доларів", "євро", "фунт|фунти|фунтів", "єна|єни|єн")
        | {"₴": "гривня|гривні|гривень"},
        months=("січня", "лютого", "березня", "квітня", "травня", "червня", "липня", "серпня", "вересня", "жовтня",
                "листопада", "грудня"),
        abbreviations={"т.д.": "так далі", "т.п.": "тому подібне", "напр.": "наприклад", "тобто": "тобто"},
    ),
    "hi": Words(
        decimal=".", groups=",", minus="ऋण", point="दशमलव", to="से", dot="डॉट", number_sign="संख्या",
        currencies=_money("डॉलर", "यूरो", "पाउंड", "येन") | {"₹": "रुपये"},
        halves={"½": "आधा"}, abbreviations={"डॉ.": "डॉक्टर", "श्री.": "श्री", "प्रो.": "प्रोफ़ेसर"},
    ),
    "ar": Words(
        decimal="٫", groups="٬", minus="ناقص", point="فاصلة", to="إلى", dot="نقطة", number_sign="رقم", percent="{} بالمائة",
        currencies={}, abbreviations={"د.": "دكتور"},
    ),
    "vi": Words(
        decimal=",", groups=". ", minus="âm", point="phẩy", to="đến", dot="chấm", number_sign="số",
        percent="{} phần trăm", celsius="{} độ C", currencies=_money("đô la", "euro", "bảng", "yên") | {"₫": "đồng"},
        halves={"½": "một nửa"}, abbreviations={"TP.": "thành phố", "ThS.": "thạc sĩ", "TS.": "tiến sĩ"},
    ),
    "ko": Words(
        decimal=".", groups=",", minus="마이너스", point="점", to="에서", dot="점", number_sign="번호",
        percent="{} 퍼센트", celsius="섭씨 {} 도", currencies=_money("달러", "유로", "파운드", "엔") | {"₩": "원"},
    ),
    "zh": Words(
        decimal=".", groups=",", minus="负", point="点", to="到", dot="点", percent="百分之{}", celsius="{}摄氏度",
        currencies=_money("美元", "欧元", "英镑", "日元"), halves={"½": "二分之一", "¼": "四分之一", "¾": "四分之三"},
    ),
    # whole numbers only
    "hu": Words(decimal=",", groups=" ", minus="mínusz", point="egész"),
    "fi": Words(decimal=",", groups=" ", minus="miinus", point="pilkku"),
    "id": Words(decimal=",", groups=". ", minus="minus", point="koma"),
    "eo": Words(decimal=",", groups=" ", minus="minus", point="komo"),
}  # fmt: skip
NUMBERS_ONLY = frozenset(("hu", "fi", "id", "eo"))
