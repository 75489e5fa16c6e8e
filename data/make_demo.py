"""Make the demo corpus: short synthetic clips in three languages, in many containers and rates, under data/demo/voices.

    python data/make_demo.py

The same programs and libraries give the same bytes. data/demo/README.md describes the result.
"""

import argparse
import dataclasses
import shutil
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from synthesise import Voice, speak

DEFAULT_OUTPUT = Path(__file__).resolve().parent / "demo" / "voices"
_LOSSY = {".mp3": ("mp3", "libmp3lame", 48_000), ".ogg": ("ogg", "libopus", 32_000), ".m4a": ("ipod", "aac", 64_000)}


@dataclasses.dataclass(frozen=True)
class Clip:
    """One recording: its file name, what is said, and how the words lie beside it.

    `sidecar` is the ending of a text file beside the audio, "metadata.csv" for a line in the speaker's table, or "" for
    none. `reading` is what the synthesiser gets where it can't read `text` itself.
    """

    file: str
    rate_hz: int
    text: str
    sidecar: str = ""
    reading: str = ""
    stereo: bool = False
    pause_s: float = 0.0  # between sentences; 0 leaves pauses to the synthesiser


@dataclasses.dataclass(frozen=True)
class Speaker:
    """A folder of clips by one voice; `language` is written to language.txt unless the group's file says it."""

    group: str
    name: str
    voice: Voice
    clips: tuple[Clip, ...]
    language: str = ""


LONG_TEXT = (
    "It was a quiet morning in the small town by the sea. The fishermen had already left the harbor before the sun "
    "came up. A young woman opened the door of the bakery and put a sign on the street. Within a few minutes there "
    "was a long line of people waiting for fresh bread. They talked about the weather, the price of fish, and the "
    "new school on the hill. An old man told the story of the great storm that had taken the roof off his house. "
    "Nobody knew if all of it was true, but everyone liked to listen. When the church bell rang at nine, the "
    "street was empty again."
)

SPEAKERS = (
    Speaker(
        "english",
        "slt",
        Voice("flite", "slt"),
        (
            Clip("slt_0001.wav", 16_000, "The birch canoe slid on the smooth planks.", "metadata.csv"),
            Clip("slt_0002.wav", 16_000, "Glue the sheet to the dark blue background.", "metadata.csv"),
            Clip("slt_0003.wav", 16_000, "It is easy to tell the depth of a well.", "metadata.csv"),
            Clip("slt_0004.wav", 16_000, "Four hours of steady work faced us.", "metadata.csv"),
            Clip(
                "slt_0005.flac",
                16_000,
                "A large size in stockings is hard to sell, even at 3.14 dollars.",
                "metadata.csv",
            ),
        ),
    ),
    Speaker(
        "english",
        "rms",
        Voice("flite", "rms"),
        (
            Clip("interview.ogg", 24_000, LONG_TEXT, pause_s=0.8),
            Clip("one.flac", 22_050, "The boy was there when the sun rose in the morning."),
            Clip("two.flac", 22_050, "A rod is used to catch fish in the river."),
            Clip("three.flac", 24_000, "The source of the huge river is the clear spring."),
            Clip("four.wav", 16_000, "Please help the woman to find her black dog."),
        ),
    ),
    Speaker(
        "english",
        "awb",
        Voice("flite", "awb"),
        (
            Clip("a.mp3", 44_100, "The salt breeze came across from the sea.", ".txt"),
            Clip("b.mp3", 22_050, "The girl at the booth sold fifty bonds.", ".txt"),
            Clip("c.wav", 22_050, "Take the winding path to reach the lake."),
            Clip("d.ogg", 48_000, "Note closely the size of the gas tank.", ".normalized.txt"),
        ),
    ),
    Speaker(
        "world",
        "haruka",
        Voice("espeak-ng", "ja+f2", pitch=60, speed=150),
        (
            Clip("桜.wav", 22_050, "春になると、桜の花が咲きます。", ".txt", "はるになると、さくらのはながさきます。"),
            Clip("駅.m4a", 44_100, "駅の前に大きな本屋があります。", ".txt", "えきのまえにおおきなほんやがあります。"),
            Clip(
                "ja_003.m4a", 44_100, "友達と一緒に映画を見ました。", ".txt", "ともだちといっしょにえいがをみました。"
            ),
            Clip("ja_004.flac", 44_100, "このパンはとてもおいしいです。", ".txt", "このパンはとてもおいしいです。"),
            Clip(
                "ja_005.ogg",
                24_000,
                "雨が降ったので、家で本を読みました。",
                ".txt",
                "あめがふったので、いえでほんをよみました。",
            ),
        ),
        language="ja",
    ),
    Speaker(
        "world",
        "lena",
        Voice("espeak-ng", "de+f3", pitch=55, speed=160),
        (
            Clip("de_1.ogg", 48_000, "Der Zug nach Hamburg fährt heute um achtzehn Uhr.", ".lab"),
            Clip("de_2.ogg", 48_000, "Die Kinder spielen im Garten hinter dem Haus.", ".lab"),
            Clip("de_3.wav", 16_000, "Können Sie mir bitte den Weg zur Brücke zeigen?", ".lab"),
            Clip("de_4.mp3", 24_000, "Am Abend sitzen wir gern vor der Tür.", ".lab"),
        ),
        language="de",
    ),
    Speaker(
        "world",
        "mateo",
        Voice("espeak-ng", "es+m3", pitch=40, speed=160),
        (
            Clip("es_1.flac", 44_100, "Mañana vamos a visitar a mis abuelos en el pueblo.", ".normalized.txt"),
            Clip("es_2.wav", 48_000, "El perro duerme debajo de la mesa.", ".normalized.txt", stereo=True),
            Clip("es_3.m4a", 48_000, "¿Dónde está la estación de trenes más cercana?", ".normalized.txt"),
            Clip("es_4.wav", 16_000, "La ciudad es muy bonita cuando llueve.", ".normalized.txt"),
        ),
        language="es",
    ),
)
# Three people in one recording, whose text has neither times nor names: for diarisation and alignment.
TALK = Path("english", "talk", "meeting.ogg")
TALK_TURNS = (
    ("slt", "Good morning, everybody. Did you all find the new office without any trouble?"),
    ("rms", "I took the wrong train and had to walk along the river. It was not so bad."),
    ("awb", "The map that you sent us was very clear. I was here before the doors were open."),
    ("slt", "Then let us begin with the garden. What do our neighbors say about the old trees?"),
    ("awb", "They want to keep them. The children climb on them every summer."),
    ("rms", "The largest one is hollow, and a storm could throw it on the roof of the school."),
    ("slt", "We should ask somebody who knows more about trees than the three of us."),
    ("rms", "My sister works for the city forest. She could come and look at it on Friday."),
    ("awb", "That sounds like a good plan. I will bring the coffee."),
)
TALK_RATE_HZ = 24_000
GROUP_LANGUAGES = {"english": "en"}


def make(output: Path) -> None:
    """Write the whole corpus; whatever was in `output` before is removed."""
    if output.exists():
        shutil.rmtree(output)
    for speaker in SPEAKERS:
        folder = output / speaker.group / speaker.name
        folder.mkdir(parents=True)
        if speaker.language:
            _write_text(folder / "language.txt", speaker.language)
        for clip in speaker.clips:
            write_audio(folder / clip.file, _record(clip, speaker.voice), clip.rate_hz)
        _write_sidecars(folder, speaker.clips)
    _write_talk(output / TALK)
    for group, language in GROUP_LANGUAGES.items():
        _write_text(output / group / "language.txt", language)


def _write_talk(path: Path) -> None:
    path.parent.mkdir(parents=True)
    parts = []
    for number, (voice, text) in enumerate(TALK_TURNS):
        audio, rate_hz = speak(text, Voice("flite", voice))
        audio = soxr.resample(audio, rate_hz, TALK_RATE_HZ)
        parts += [0.7 * audio / np.abs(audio).max(), np.zeros(round((0.25 + 0.1 * (number % 3)) * TALK_RATE_HZ))]
    write_audio(path, np.concatenate(parts).astype(np.float32)[:, None], TALK_RATE_HZ)
    _write_text(path.with_suffix(".txt"), " ".join(text for _, text in TALK_TURNS))


def _record(clip: Clip, voice: Voice) -> np.ndarray:
    """float32 [n, channels] at the clip's rate."""
    text = clip.reading or clip.text
    sentences = [part.strip(" .") + "." for part in text.split(". ")] if clip.pause_s else [text]
    parts = []
    for sentence in sentences:
        audio, rate_hz = speak(sentence, voice)
        parts += [audio, np.zeros(round(clip.pause_s * rate_hz), np.float32)]
    mono = soxr.resample(np.concatenate(parts), rate_hz, clip.rate_hz)
    mono = 0.8 * mono / np.abs(mono).max()
    # the second channel is quieter, so that a reader that keeps one channel and one that mixes both can be told apart
    return np.stack([mono, 0.5 * mono], axis=1) if clip.stereo else mono[:, None]


def write_audio(path: Path, audio: np.ndarray, rate_hz: int) -> None:
    """Write float32 [n, channels]: wav and flac as 16 bits by SoundFile, other containers by FFmpeg's encoders."""
    if path.suffix in (".wav", ".flac"):
        soundfile.write(path, audio, rate_hz, subtype="PCM_16")
        return
    container_format, codec, bits_per_s = _LOSSY[path.suffix]
    # bitexact leaves out versions, dates and random serial numbers
    with av.open(str(path), "w", format=container_format, options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=rate_hz, options={"flags": "+bitexact"})
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = bits_per_s
        stream.layout = "mono" if audio.shape[1] == 1 else "stereo"
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio.T), format="fltp", layout=stream.layout.name)
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(format=stream.format, layout=stream.layout, rate=rate_hz)
        for converted in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))


def _write_sidecars(folder: Path, clips: tuple[Clip, ...]) -> None:
    rows = [f"{Path(clip.file).stem}|{clip.text}" for clip in clips if clip.sidecar == "metadata.csv"]
    if rows:
        _write_text(folder / "metadata.csv", "\n".join(rows))
    for clip in clips:
        if clip.sidecar.startswith("."):
            _write_text(folder / (Path(clip.file).stem + clip.sidecar), clip.text)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="folder to replace (default: %(default)s)")
    make(parser.parse_args().output)


if __name__ == "__main__":
    main()
