"""Cuts of utterances and their division among jobs."""

from dataclasses import replace

import pytest
from lhotse import AudioSource, Recording, RecordingSet, SupervisionSegment, SupervisionSet

from steps.data.archives import share_of, speed_copies, utterance_cuts


def recording(name: str, seconds: float) -> Recording:
    source = AudioSource("file", channels=[0], source=f"{name}.wav")
    return Recording(name, [source], sampling_rate=16000, num_samples=int(seconds * 16000), duration=seconds)


RECORDINGS = RecordingSet.from_recordings([recording("a", 10.0), recording("b", 4.0)])
SEGMENT = SupervisionSegment("a-2", "a", start=2.5, duration=3.0, text="天气", speaker="s")


def test_a_segment_becomes_a_cut_with_its_own_id_and_time():
    (cut,) = utterance_cuts(RECORDINGS, SupervisionSet.from_segments([SEGMENT]))
    assert (cut.id, cut.start, cut.duration, cut.num_samples) == ("a-2", 2.5, 3.0, 48000)
    (supervision,) = cut.supervisions
    assert (supervision.id, supervision.start, supervision.duration) == ("a-2", 0.0, 3.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recording_id": "c"}, "utterance a-2: the manifest has no recording c"),
        ({"duration": 8.0}, r"utterance a-2 ends at 10.5 s, after its recording a \(10.0 s\)"),
    ],
)
def test_a_segment_without_its_audio_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        utterance_cuts(RECORDINGS, SupervisionSet.from_segments([replace(SEGMENT, **change)]))


def test_a_repeated_id_is_named():
    with pytest.raises(ValueError, match="utterance a-2 is in the supervisions twice"):
        utterance_cuts(RECORDINGS, [SEGMENT, replace(SEGMENT, start=0.0)])


def test_jobs_share_all_cuts_in_order_and_by_duration():
    lengths = [1.0 + (7 * number % 13) for number in range(200)]
    cuts = utterance_cuts(RecordingSet.from_recordings(recording(f"{n:03}", s) for n, s in enumerate(lengths)))
    for num_jobs in (1, 3, 8):
        shares = [share_of(cuts, job, num_jobs) for job in range(1, num_jobs + 1)]
        assert [cut.id for share in shares for cut in share] == [cut.id for cut in cuts]
        seconds = [sum(cut.duration for cut in share) for share in shares]
        assert max(seconds) - min(seconds) <= 2 * max(lengths)
    assert [len(share_of(cuts[:2], job, 5)) for job in range(1, 6)].count(1) == 2  # more jobs than cuts


def test_a_job_outside_its_number_is_refused():
    with pytest.raises(ValueError, match=r"--job must be in 1 \.\.\. --num-jobs \(2\), got 3"):
        share_of([], 3, 2)


def test_speed_copies_have_lhotses_ids_and_scaled_times():
    (cut,) = utterance_cuts(RECORDINGS, SupervisionSet.from_segments([SEGMENT]))
    slow, same, fast = speed_copies(cut, [0.9, 1.0, 1.1])
    assert same is cut
    for copy, factor in ((slow, 0.9), (fast, 1.1)):
        assert copy.id == copy.supervisions[0].id == f"a-2_sp{factor}"
        assert copy.recording_id == f"a_sp{factor}"
        assert copy.duration == pytest.approx(3.0 / factor, abs=1 / 16000)
        assert copy.start == pytest.approx(2.5 / factor, abs=1 / 16000)
