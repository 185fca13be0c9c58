"""Joined enrolments and excerpts: what they hold, and whose name they bear."""

import numpy as np
import pytest
import soundfile
from lhotse import Recording, SupervisionSegment

from steps.data.whole import excerpts, joined

RATE = 16000


@pytest.fixture
def cuts(tmp_path):
    """Three utterances of 1, 2 and 3 s whose samples say which they are."""
    found = []
    for number in (1, 2, 3):
        soundfile.write(tmp_path / f"{number}.wav", np.full(number * RATE, number / 10, np.float32), RATE, "FLOAT")
        cut = Recording.from_file(tmp_path / f"{number}.wav", recording_id=f"u{number}").to_cut().with_id(f"u{number}")
        cut.supervisions = [SupervisionSegment(cut.id, cut.id, 0, cut.duration, speaker="a")]
        found.append(cut)
    return found


def test_enrolments_are_put_end_to_end(cuts):
    one, two = joined({"m": ["u3", "u1"], "n": ["u2"]}, cuts)
    assert (one.id, two.id) == ("m", "n")
    assert one.supervisions[0].speaker == "a"
    wave = one.load_audio()[0]
    assert len(wave) == 4 * RATE
    np.testing.assert_allclose(wave[[0, 3 * RATE - 1, 3 * RATE, -1]], [0.3, 0.3, 0.1, 0.1], atol=1e-6)
    with pytest.raises(ValueError, match="enrolment m: there is no utterance u9"):
        joined({"m": ["u1", "u9"]}, cuts)


def test_excerpts_keep_their_names_and_come_from_the_same_place_each_time(cuts):
    whole = [*cuts, *joined({"m": ["u2", "u3"]}, cuts)]
    for seconds in (0.5, 1.5, 4.0):
        short = excerpts(whole, seconds, seed=1)
        assert [cut.id for cut in short] == ["u1", "u2", "u3", "m"]
        assert [cut.duration for cut in short] == [min(cut.duration, seconds) for cut in whole]
        again = excerpts(whole[::-1], seconds, seed=1)[::-1]
        for one, other, full in zip(short, again, whole, strict=True):
            np.testing.assert_array_equal(one.load_audio(), other.load_audio())
            assert one.num_samples == round(min(full.duration, seconds) * RATE)
    assert excerpts(whole, 0.5, seed=1)[3].start != excerpts(whole, 0.5, seed=2)[3].start
