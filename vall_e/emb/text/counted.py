"""Korean and Chinese numbers with what they count: 세 개, 两个. Other measure words have no sure reading here.

Korean: National Institute of Korean Language, 표준어 규정 and its Q&A on 수 관형사. Chinese: Li and Thompson, "Mandarin
Chinese: A Functional Reference Grammar" (1981), 4.2.1, on 二 and 两.
"""

from __future__ import annotations

import re

from vall_e.emb.text.base import Fail
from vall_e.emb.text.numerals import cardinal

_NATIVE_ONES = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉")
_NATIVE_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")
_NATIVE_WORDS = """
시간 시 개 명 살 마리 권 잔 병 장 송이 채 척 벌 켤레 그루 가지 사람 달 곳 군데 쌍 줄 통 배
판 끼 모금 자루 대접
"""
_NATIVE = tuple(_NATIVE_WORDS.split())
_SINO_WORDS = """
년대 년 월 일 분 초 원 층 호 도 주 개월 개국 인분 퍼센트 학년 세기 회 위 점 페이지 킬로 미터
센티 주년 세 조 억 만 천 백 등 차 급 달러 유로 기 킬로미터 센티미터 그램 킬로그램 리터 번지 호선
교시
"""
_SINO = tuple(_SINO_WORDS.split())
_HANGUL = "가-힣"
_COUNTERS = "|".join(sorted((*_NATIVE, *_SINO), key=len, reverse=True))
_COUNTED_NUMBER = re.compile(
    r"(?<![0-9.,:/-])([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?![.,:/0-9-])"
    rf"(?:\s?({_COUNTERS})([{_HANGUL}]*)|[{_HANGUL}])"
)


def korean(text: str, fail: Fail) -> str:
    """Numbers before a counter in the numerals that it takes: native ones below 100, or those from Chinese."""

    def put(found: re.Match[str]) -> str:
        value, counter, rest = int(found.group(1).replace(",", "")), found.group(2), found.group(3)
        if counter is None:
            raise fail(found.group(), "number with a counter that is not known")
        if counter == "월" and value in (6, 10):  # 유월, 시월
            return ("유월" if value == 6 else "시월") + rest
        is_native = counter in _NATIVE and 1 <= value < (13 if counter == "시" else 100)
        return f"{native(value) if is_native else cardinal(value, 'ko')} {counter}{rest}"

    return _COUNTED_NUMBER.sub(put, text)


def native(value: int) -> str:
    """1 … 99 as it stands before a counter; 스무 for 20.

    Example:
        >>> native(3), native(20), native(21)
        ('세', '스무', '스물한')
    """
    return "스무" if value == 20 else _NATIVE_TENS[value // 10] + _NATIVE_ONES[value % 10]


_MEASURES = "个只条张本次天年人岁点块名位家件种辆头匹棵座间倍周分秒小公万千亿把封部台架颗粒支枝首句段杯瓶碗双对套层"
_TWO_STAYS = "月日号十百楼月份级等第"


def mandarin(text: str, fail: Fail) -> str:
    """2 before a measure word is 两; before the names of days, months and places it stays 二."""

    def put(found: re.Match[str]) -> str:
        measure = found.group(1)
        if measure in _MEASURES:
            return f"两{measure}"
        if measure in _TWO_STAYS:
            return f"二{measure}"
        raise fail(found.group(), "two with a measure word that is not known")

    return re.sub(r"(?<![0-9.,:/-])(?<!第)2([\u4e00-\u9fff])", put, text)
