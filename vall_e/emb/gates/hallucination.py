"""Phrases that Whisper writes where nobody speaks, learnt from the subtitles that it was trained on.

The score is the share of the text's words that such phrases make up. Koenecke et al., "Careless Whisper" (FAccT 2024),
and the lists that users of Whisper keep, name them.
"""

from __future__ import annotations

from vall_e.emb.gates.base import GateInput
from vall_e.emb.gates.measured import Measured
from vall_e.emb.gates.registry import GateOptions
from vall_e.emb.gates.repeats import tokens

_PHRASES = """
thanks for watching
thank you for watching
thank you so much for watching
please subscribe
please subscribe to my channel
don't forget to like and subscribe
like and subscribe
subtitles by the amara org community
transcription by castingwords
untertitel im auftrag des zdf
untertitel der amara org community
untertitelung des zdf für funk
sous titres réalisés par la communauté d'amara org
sous titres réalisés para la communauté d'amara org
merci d'avoir regardé cette vidéo
subtítulos realizados por la comunidad de amara org
gracias por ver el video
sottotitoli creati dalla comunità amara org
legendas pela comunidade amara org
ondertiteling ingediend door
tv gelderland
napisy stworzone przez społeczność amara org
продолжение следует
субтитры сделал dimatorzok
субтитры создавал dimatorzok
редактор субтитров а семкин корректор а егорова
спасибо за просмотр
altyazı m k
izlediğiniz için teşekkür ederim
ご視聴ありがとうございました
チャンネル登録お願いします
字幕by索兰娅
请不吝点赞订阅转发打赏支持明镜与点点栏目
中文字幕志愿者李宗盛
谢谢观看
시청해주셔서 감사합니다
구독과 좋아요 부탁드립니다
"""


def load(options: GateOptions) -> Measured:
    phrases = sorted((tokens(line) for line in _PHRASES.strip().splitlines()), key=len, reverse=True)
    return Measured("hallucinated", lambda seen: _share(seen, phrases), maximum=0.9, bad="high")


def _share(seen: GateInput, phrases: list[list[str]]) -> float | None:
    words = tokens(seen.text)
    if not words:
        return None
    marked = bytearray(len(words))
    for phrase in phrases:
        size = len(phrase)
        for start in range(len(words) - size + 1):
            if words[start : start + size] == phrase:
                marked[start : start + size] = b"\x01" * size
    return sum(marked) / len(words)
