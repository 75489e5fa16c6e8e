"""Slices: no edge in a word, nothing twice, nothing lost without a reason."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vall_e.emb.gates import base as gates
from vall_e.emb.gates.duration import Duration
from vall_e.emb.slicing import Limits, Slice, plan_slices, trim
from vall_e.emb.words import split_text
from vall_e.types import Recording, Reject, RejectReason, Segment, Transcript, Word, seconds_to_samples


def recording(duration_s: float, rate_hz: int = 16_000) -> Recording:
    return Recording(
        id="g/s/a.wav",
        path="g/s/a.wav",
        group="g",
        speaker="s",
        sample_rate_hz=rate_hz,
        num_samples=round(duration_s * rate_hz),
        num_channels=1,
    )


def transcript(*segments: Segment) -> Transcript:
    text = " ".join(segment.text for segment in segments)
    return Transcript(
        recording_id="g/s/a.wav", language="en", language_prob=None, text=text, segments=segments, backend="test"
    )


def segment(*times: tuple[str, float, float], speaker: str | None = None) -> Segment:
    words = tuple(Word(text=text, start_s=start, end_s=end) for text, start, end in times)
    text = " ".join(word.text for word in words)
    return Segment(text=text, start_s=words[0].start_s, end_s=words[-1].end_s, words=words, speaker=speaker)


def limits(mode: str = "auto", shortest: float = 0.1, longest: float = 10.0) -> Limits:
    gate = Duration(shortest, longest)

    def check(item_id: str, duration_s: float, text: str) -> Reject | None:
        return gates.check(gate, duration_s, item_id, "process")

    return Limits(mode=mode, max_duration_s=longest, check=check)


def test_one_segment_of_a_short_recording_is_the_whole_file() -> None:
    slices, rejects = plan_slices(recording(3), transcript(segment(("hello", 1, 1.5))), limits())
    assert not rejects
    assert [(cut.id, cut.start_samples, cut.num_samples) for cut in slices] == [("g/s/a.wav", 0, 48_000)]
    assert slices[0].words[0].start_s == 1


def test_segments_share_the_gap_between_them() -> None:
    parts = transcript(segment(("one", 1.0, 1.4)), segment(("two", 1.5, 2.0)), segment(("three", 4.0, 4.5)))
    slices, rejects = plan_slices(recording(5), parts, limits())
    assert not rejects
    edges = [(cut.start_samples / 16_000, (cut.start_samples + cut.num_samples) / 16_000) for cut in slices]
    assert edges == [(0.8, 1.45), (1.45, 2.2), (3.8, 4.7)]
    assert [cut.id for cut in slices] == ["g/s/a.wav-00000", "g/s/a.wav-00001", "g/s/a.wav-00002"]
    assert [cut.text for cut in slices] == ["one", "two", "three"]
    assert round(slices[1].words[0].start_s, 6) == 0.05


def test_false_takes_the_file_whole_and_true_cuts_even_a_short_one() -> None:
    parts = transcript(segment(("one", 1.0, 1.4)), segment(("two", 2.5, 3.0)))
    whole, _ = plan_slices(recording(5), parts, limits("false"))
    assert [(cut.id, cut.text) for cut in whole] == [("g/s/a.wav", "one two")]
    cut, _ = plan_slices(recording(5), transcript(segment(("one", 1.0, 1.4))), limits("true"))
    assert [(item.id, item.num_samples) for item in cut] == [("g/s/a.wav-00000", round(0.8 * 16_000))]


def test_a_long_segment_is_cut_behind_a_sentence_rather_than_at_a_pause() -> None:
    """A breath inside a sentence is often a little longer than the pause behind one."""
    words = [("I", 0.0, 0.4), ("left", 0.5, 1.0), ("Then", 1.2, 1.5), ("she", 1.9, 2.3), ("came", 2.4, 3.0)]
    long = Segment(text="I left. Then she came.", start_s=0, end_s=3, words=segment(*words).words)
    slices, _ = plan_slices(recording(4), transcript(long), limits(longest=2.0))
    assert [cut.text for cut in slices] == ["I left.", "Then she came."]
    far = [("I", 0.0, 0.4), ("left", 0.5, 1.0), ("Then", 1.1, 1.3), ("she", 2.1, 2.3), ("came", 2.4, 3.0)]
    long = Segment(text="I left. Then she came.", start_s=0, end_s=3, words=segment(*far).words)
    slices, _ = plan_slices(recording(4), transcript(long), limits(longest=2.0))
    assert [cut.text for cut in slices] == ["I left. Then", "she came."]  # a pause that is wide enough wins


def test_a_long_segment_is_cut_at_its_widest_gap_with_its_punctuation() -> None:
    words = [("Well", 0.0, 0.5), ("then", 0.6, 1.0), ("let's", 2.0, 2.5), ("go", 2.6, 3.0)]
    long = segment(*words)
    long = Segment(text="Well, then: “let's go!”", start_s=0, end_s=3, words=long.words)
    slices, rejects = plan_slices(recording(4), transcript(long), limits(longest=2.0))
    assert not rejects
    assert [cut.text for cut in slices] == ["Well, then:", "“let's go!”"]
    assert [[word.text for word in cut.words] for cut in slices] == [["Well", "then"], ["let's", "go"]]


def test_what_can_not_be_cut_is_rejected_with_its_reason() -> None:
    no_words = Segment(text="a long story", start_s=0, end_s=30)
    cases = [
        (30, no_words, RejectReason.TOO_LONG),
        (30, segment(("aaah", 1, 29)), RejectReason.TOO_LONG),
        (5, Segment(text=" ", start_s=0, end_s=5), RejectReason.NO_TEXT),
        (0.05, Segment(text="hm", start_s=0, end_s=0.05), RejectReason.TOO_SHORT),
        (5, segment(("late", 6, 7)), RejectReason.BAD_TIMES),
        (5, segment(("back", 3, 2)), RejectReason.BAD_TIMES),
    ]
    for duration_s, part, reason in cases:
        for mode in ("true", "auto") if reason != RejectReason.BAD_TIMES else ("true",):
            slices, rejects = plan_slices(recording(duration_s), transcript(part), limits(mode))
            assert not slices, (part, mode)
            assert [reject.reason for reject in rejects] == [reason]


def test_overlapping_segments_are_rejected_both_and_others_stay() -> None:
    parts = transcript(segment(("a", 0.5, 1.0)), segment(("b", 2.0, 3.0)), segment(("c", 2.5, 3.5)))
    slices, rejects = plan_slices(recording(5), parts, limits())
    assert [cut.text for cut in slices] == ["a"]
    assert [(reject.id[-5:], reject.reason) for reject in rejects] == [("00001", "bad_times"), ("00002", "bad_times")]


def test_segments_that_jump_back_in_time_are_rejected() -> None:
    parts = transcript(segment(("a", 3.0, 4.0)), segment(("b", 1.0, 2.0)), segment(("c", 6.0, 7.0)))
    slices, rejects = plan_slices(recording(8), parts, limits("true"))
    starts = [cut.start_samples for cut in slices]
    assert starts == sorted(starts)
    assert {reject.reason for reject in rejects} == {RejectReason.BAD_TIMES}
    assert len(slices) + len(rejects) == 3


def test_no_segments_are_no_text() -> None:
    nothing = Transcript(
        recording_id="g/s/a.wav", language="en", language_prob=None, text="words", segments=(), backend="test"
    )
    for mode in ("true", "auto", "false"):
        slices, rejects = plan_slices(recording(20), nothing, limits(mode))
        assert len(slices) + len(rejects) == 1


def test_a_diarised_voice_belongs_to_its_recording() -> None:
    slices, _ = plan_slices(recording(5), transcript(segment(("a", 1, 2), speaker="SPEAKER_00")), limits("true"))
    assert slices[0].speaker == "g/s/a.wav#SPEAKER_00"


@st.composite
def transcripts(draw: st.DrawFn) -> tuple[Recording, Transcript]:
    """Words in order of time with gaps from none to long, in segments of any size, at odd rates."""
    rate_hz = draw(st.sampled_from([8_000, 11_025, 22_050, 44_100]))
    clock = draw(st.floats(0, 2))
    parts: list[Segment] = []
    for _ in range(draw(st.integers(1, 6))):
        words: list[tuple[str, float, float]] = []
        for _ in range(draw(st.integers(1, 6))):
            length = draw(st.floats(0.01, 3))
            words.append((f"w{len(parts)}.{len(words)}", clock, clock + length))
            clock += length + draw(st.just(0.0) | st.floats(0, 2))
        parts.append(segment(*words))
    return recording(clock + draw(st.floats(0, 2)), rate_hz), transcript(*parts)


@settings(max_examples=200, deadline=None)
@given(case=transcripts(), longest=st.floats(0.5, 12), shortest=st.floats(0, 0.5))
def test_edges_stay_out_of_words(case: tuple[Recording, Transcript], longest: float, shortest: float) -> None:
    source, transcript = case
    slices, rejects = plan_slices(source, transcript, limits("true", shortest, longest))
    rate_hz = source.sample_rate_hz
    words = [word for part in transcript.segments for word in part.words]
    spans = [(seconds_to_samples(word.start_s, rate_hz), seconds_to_samples(word.end_s, rate_hz)) for word in words]
    end_before, heard_again = 0, []
    for cut in slices:
        start, end = cut.start_samples, cut.start_samples + cut.num_samples
        assert end_before <= start < end <= source.num_samples
        assert shortest <= cut.num_samples / rate_hz <= longest
        for first, last in spans:
            assert last <= start or start <= first, "an edge cuts a word"
            assert first >= end or last <= end, "an edge cuts a word"
        inside = [word.text for word, (first, last) in zip(words, spans, strict=True) if start <= first and last <= end]
        assert [word.text for word in cut.words] == [text for text in inside if text in {w.text for w in cut.words}]
        assert cut.text.split() == [word.text for word in cut.words]
        assert all(0 <= word.start_s <= word.end_s <= cut.num_samples / rate_hz + 1e-4 for word in cut.words)
        heard_again += [word.text for word in cut.words]
        end_before = end
    assert len(heard_again) == len(set(heard_again))
    ids = [cut.id for cut in slices] + [reject.id for reject in rejects]
    assert len(set(ids)) == len(ids)
    if not rejects:
        assert heard_again == [word.text for word in words]


@given(
    words=st.lists(st.text("abc", min_size=1, max_size=3), min_size=2, max_size=8),
    joints=st.lists(st.sampled_from([" ", ", ", ". ", " — ", "… "]), min_size=8, max_size=8),
    data=st.data(),
)
def test_split_text_loses_nothing(words: list[str], joints: list[str], data: st.DataObject) -> None:
    text = "".join(word + joint for word, joint in zip(words, joints, strict=False)).strip()
    at = data.draw(st.integers(1, len(words) - 1))
    times = [Word(text=word, start_s=0, end_s=0) for word in words]
    left, right = split_text(text, times, at)
    assert "".join((left + right).split()) == "".join(text.split())


def test_split_text_of_a_language_without_spaces() -> None:
    words = [Word(text=text, start_s=0, end_s=0) for text in ("今日", "は", "晴れ")]
    assert split_text("今日は、晴れ。", words, 2) == ("今日は、", "晴れ。")


def test_a_recording_of_several_people_is_not_taken_whole() -> None:
    parts = transcript(segment(("one", 1.0, 1.4), speaker="A"), segment(("two", 2.5, 3.0), speaker="B"))
    slices, (reject,) = plan_slices(recording(5), parts, limits("false"))
    assert slices == [] and reject.reason == RejectReason.MIXED_SPEAKERS
    (whole,), _ = plan_slices(recording(5), transcript(segment(("one", 1.0, 1.4), speaker="A")), limits("false"))
    assert whole.speaker == "g/s/a.wav#A"


def test_linked_voices_have_their_name() -> None:
    parts = transcript(segment(("one", 1.0, 1.4), speaker="A"), segment(("two", 2.5, 3.0), speaker="B"))
    slices, _ = plan_slices(recording(5), parts, limits(), {"A": "voice-0007"})
    assert [cut.speaker for cut in slices] == ["voice-0007", "g/s/a.wav#B"]


# ---- silence around speech


@settings(deadline=None, max_examples=50)
@given(
    before=st.integers(0, 40_000),
    sound=st.integers(4_000, 30_000),
    after=st.integers(0, 40_000),
    noise_db=st.sampled_from([-200, -90, -70]),
)
def test_silence_around_speech_is_left_out_but_for_a_margin(before: int, sound: int, after: int, noise_db: int) -> None:
    rate_hz = 16_000
    rng = np.random.default_rng(before)
    samples = np.zeros(before + sound + after, np.float32)
    samples[before : before + sound] = 0.3 * np.sin(np.arange(sound) / 5)
    samples += (10 ** (noise_db / 20) * rng.standard_normal(len(samples))).astype(np.float32)
    word = Word(text="a", start_s=before / rate_hz, end_s=(before + sound) / rate_hz)
    for words in ((), (word,)):
        cut = Slice(id="a", start_samples=500, num_samples=len(samples), text="a", words=words, speaker="s")
        made, kept = trim(cut, samples, rate_hz)
        first = made.start_samples - 500
        assert made.num_samples == len(kept) and np.array_equal(kept, samples[first : first + len(kept)])
        margin, frame = round(0.2 * rate_hz), round(0.01 * rate_hz)
        slack = 0 if words else frame  # a frame with hardly a sample of the sound counts as silence, but no word does
        assert max(0, before - margin - frame) <= first <= max(0, before - margin + slack)
        end, edge = first + len(kept), before + sound + margin
        assert min(len(samples), edge - slack) <= end <= min(len(samples), edge + frame)
        for each in made.words:
            assert abs(each.start_s + first / rate_hz - word.start_s) < 1e-5
            assert abs(each.end_s + first / rate_hz - word.end_s) < 1e-5


def test_words_are_never_trimmed_away() -> None:
    """A whisper beside a shout, where the recogniser found a word."""
    samples = np.zeros(32_000, np.float32)
    samples[16_000:20_000] = 0.5
    samples[8_000:12_000] = 1e-4
    words = (Word(text="psst", start_s=0.5, end_s=0.75), Word(text="hey", start_s=1.0, end_s=1.25))
    cut = Slice(id="a", start_samples=0, num_samples=32_000, text="psst hey", words=words, speaker="s")
    made, _ = trim(cut, samples, 16_000)
    assert made.start_samples == 8_000 - 3_200 and made.words[0].start_s == 0.2


def test_sound_that_fills_the_file_stays_whole() -> None:
    samples = (0.1 * np.random.default_rng(0).standard_normal(30_011)).astype(np.float32)
    cut = Slice(id="a", start_samples=0, num_samples=30_011, text="a", words=(), speaker="s")
    made, kept = trim(cut, samples, 16_000)
    assert made == cut and len(kept) == 30_011
    silent = trim(cut, np.zeros(30_011, np.float32), 16_000)
    assert silent[0] == cut
