"""Speech for demos, tests and the tiny codec, made by the programs flite and espeak-ng; texts in many languages.

Programs are called with argument lists, never through a shell, and texts travel in files, so a leading dash in a text
can't become an option. Everything drawn at random comes from the `random.Random` that the caller seeds.
"""

import dataclasses
import importlib.util
import random
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile

FLITE_VOICES = ("slt", "rms", "awb", "kal16")

# Article 1 of the Universal Declaration of Human Rights (public), or the plain sense of it, by espeak-ng voice.
ARTICLE_1 = {
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with reason and "
    "conscience and should act towards one another in a spirit of brotherhood.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen "
    "begabt und sollen einander im Geist der Brüderlichkeit begegnen.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y "
    "conciencia, deben comportarse fraternalmente los unos con los otros.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
    "conscience et doivent agir les uns envers les autres dans un esprit de fraternité.",
    "it": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione e di "
    "coscienza e devono agire gli uni verso gli altri in spirito di fratellanza.",
    "pt": "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotados de razão e de "
    "consciência, devem agir uns para com os outros em espírito de fraternidade.",
    "nl": "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren. Zij zijn begiftigd met verstand en "
    "geweten, en behoren zich jegens elkander in een geest van broederschap te gedragen.",
    "sv": "Alla människor är födda fria och lika i värde och rättigheter. De är utrustade med förnuft och samvete "
    "och bör handla gentemot varandra i en anda av broderskap.",
    "pl": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni rozumem "
    "i sumieniem i powinni postępować wobec innych w duchu braterstwa.",
    "cs": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem a svědomím a "
    "mají spolu jednat v duchu bratrství.",
    "ru": "Все люди рождаются свободными и равными в своём достоинстве и правах. Они наделены разумом и совестью и "
    "должны поступать в отношении друг друга в духе братства.",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι με "
    "λογική και συνείδηση, και οφείλουν να συμπεριφέρονται μεταξύ τους με πνεύμα αδελφοσύνης.",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler ve "
    "birbirlerine karşı kardeşlik zihniyeti ile hareket etmelidirler.",
    "hu": "Minden emberi lény szabadon születik és egyenlő méltósága és joga van. Az emberek, ésszel és "
    "lelkiismerettel bírván, egymással szemben testvéri szellemben kell hogy viseltessenek.",
    "ro": "Toate ființele umane se nasc libere și egale în demnitate și în drepturi. Ele sunt înzestrate cu rațiune "
    "și conștiință și trebuie să se comporte unele față de altele în spiritul fraternității.",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और "
    "अन्तरात्मा की देन प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए।",
    "id": "Semua orang dilahirkan merdeka dan mempunyai martabat dan hak-hak yang sama. Mereka dikaruniai akal dan "
    "hati nurani dan hendaknya bergaul satu sama lain dalam semangat persaudaraan.",
    "vi": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền. Mọi con người đều được tạo "
    "hoá ban cho lý trí và lương tâm và cần phải đối xử với nhau trong tình bằng hữu.",
    "cmn": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 "
    "부여받았으며 서로 형제애의 정신으로 행동하여야 한다.",
    "ja": "すべてのにんげんは、うまれながらにしてじゆうであり、かつ、そんげんとけんりとについてびょうどうである。",
    "fi": "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan. Heille on annettu järki ja "
    "omatunto, ja heidän on toimittava toisiaan kohtaan veljeyden hengessä.",
    "sw": "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa. Wote wamejaliwa akili na dhamiri, hivyo yapasa "
    "watendeane kindugu.",
}


@dataclasses.dataclass(frozen=True)
class Voice:
    """One way to speak: a program, its voice, and for espeak-ng its pitch (0..99) and speed (words per minute)."""

    program: str
    name: str
    pitch: int = 50
    speed: int = 175

    @property
    def language(self) -> str:
        """Language code as espeak-ng names it; flite's voices are English."""
        return "en" if self.program == "flite" else self.name.split("+")[0].split("-")[0]


def speak(text: str, voice: Voice) -> tuple[np.ndarray, int]:
    """Synthesise `text`: float32 [n] in -1..1 and its rate in hertz (flite 16000, espeak-ng 22050)."""
    if not text.strip():
        raise ValueError("there is no text to speak")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "text.txt"), Path(folder, "speech.wav")
        source.write_text(text + "\n", encoding="utf-8")
        subprocess.run(_arguments(voice, source, target), check=True, capture_output=True)
        audio, rate_hz = soundfile.read(target, dtype="float32")
    return audio, rate_hz


def _arguments(voice: Voice, source: Path, target: Path) -> list[str]:
    if voice.program == "flite":
        return ["flite", "-voice", voice.name, "-f", str(source), "-o", str(target)]
    if voice.program == "espeak-ng":
        settings = ["-v", voice.name, "-p", str(voice.pitch), "-s", str(voice.speed)]
        return ["espeak-ng", *settings, "-b", "1", "-f", str(source), "-w", str(target)]
    raise ValueError(f"unknown program {voice.program!r}: choose flite or espeak-ng")


def english_words() -> list[str]:
    """The words of the dictionary inside the pocketsphinx package, in its order, letters only."""
    spec = importlib.util.find_spec("pocketsphinx")
    if spec is None or spec.origin is None:
        raise ValueError("English texts need the dictionary of the pocketsphinx package: pip install pocketsphinx")
    dictionary = Path(spec.origin).parent / "model" / "en-us" / "cmudict-en-us.dict"
    heads = (line.split(maxsplit=1)[0] for line in dictionary.read_text(encoding="utf-8").splitlines() if line.strip())
    return [word for word in heads if word.isalpha() and len(word) > 2]


def random_english(words: list[str], rng: random.Random) -> str:
    """A sentence without sense: six to twelve words, one of them now and then a number."""
    chosen = [rng.choice(words) for _ in range(rng.randint(6, 12))]
    if rng.random() < 0.3:
        chosen[rng.randrange(len(chosen))] = str(rng.randrange(10_000))
    comma = rng.randrange(2, len(chosen) - 1)
    return " ".join(chosen[:comma]) + ", " + " ".join(chosen[comma:]) + rng.choice(".?!.")


def random_text(language: str, rng: random.Random) -> str:
    """Some seconds: words of the article in a new order, and numbers, which espeak-ng reads in every language."""
    article = ARTICLE_1[language]
    numbers = [str(rng.choice([rng.randrange(100), rng.randrange(10_000), rng.randrange(10**7)])) for _ in range(2)]
    words = article.split()
    if len(words) < 4:  # written without spaces: order is kept, clauses are not
        clauses = [clause for clause in article.replace("。", "，").replace("、", "，").split("，") if clause]
        rng.shuffle(clauses)
        return "。".join([*clauses[:2], *numbers])
    picked = rng.sample(words, k=min(len(words), rng.randint(5, 9)))
    return " ".join(picked) + ", " + ", ".join(numbers) + "."
