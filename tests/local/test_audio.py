"""What one pass over an audio file finds."""

from pathlib import Path

import numpy as np
import pytest

from local.audio import Request, inspect, inspect_all
from local.problems import Reason


def reasons(path: Path, **options) -> list[Reason]:
    found = inspect(Request(path, sampling_rate=16000, **options))
    return [fault[0] for fault in found.faults] + [fault[1] for fault in found.span_faults]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_good_audio_has_no_faults(audio, tmp_path: Path, suffix: str) -> None:
    found = inspect(Request(audio(tmp_path / f"好 a{suffix}"), sampling_rate=16000))
    assert (found.faults, found.span_faults, found.samples, found.sampling_rate) == ([], [], 16000, 16000)


def test_missing_and_empty_files(audio, tmp_path: Path) -> None:
    assert reasons(tmp_path / "no.wav") == [Reason.MISSING]
    (tmp_path / "empty.wav").touch()
    assert reasons(tmp_path / "empty.wav") == [Reason.EMPTY]
    assert reasons(audio(tmp_path / "header.wav", np.zeros(0))) == [Reason.EMPTY]
    (tmp_path / "text.wav").write_text("this is no audio")
    assert reasons(tmp_path / "text.wav") == [Reason.UNREADABLE]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_truncated_audio(audio, bursts, tmp_path: Path, suffix: str) -> None:
    whole = audio(tmp_path / f"whole{suffix}", bursts(3.0)).read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(whole[: len(whole) * 2 // 3])
    found = inspect(Request(tmp_path / f"cut{suffix}"))
    assert [reason for reason, _ in found.faults] == [Reason.TRUNCATED]
    assert "before the 3.00 s" in found.faults[0][1]


def test_wav_written_into_a_pipe_has_no_length_and_is_whole(audio, tmp_path: Path) -> None:
    path = audio(tmp_path / "piped.wav")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = (0x7FFFFFFF).to_bytes(4, "little")
    path.write_bytes(content)
    assert reasons(path) == []


def test_headers_alone_are_believed_where_they_have_the_length(audio, bursts, tmp_path: Path) -> None:
    for suffix, expected in ((".flac", []), (".wav", [Reason.TRUNCATED])):
        file = audio(tmp_path / f"cut{suffix}", bursts(3.0))
        file.write_bytes(file.read_bytes()[:20000])
        assert reasons(file, decode=False) == expected, "a WAV header promises bytes that can be counted"
        assert reasons(file) == [Reason.TRUNCATED]
    whole = inspect(Request(audio(tmp_path / "zeros.flac", np.zeros((800, 2))), mono=False, decode=False))
    assert (whole.samples, whole.channels, whole.faults, whole.span_faults) == (800, 2, [], [])
    beyond = Request(audio(tmp_path / "a.wav"), ((0.5, 2.0),), decode=False)
    assert [reason for _, reason, _ in inspect(beyond).span_faults] == [Reason.MALFORMED]


def test_rate_channels_and_non_finite_samples(audio, bursts, tmp_path: Path) -> None:
    assert reasons(audio(tmp_path / "8k.wav", rate=8000)) == [Reason.RATE]
    stereo = np.stack([bursts(), bursts()], axis=1)
    assert reasons(audio(tmp_path / "stereo.wav", stereo)) == [Reason.CHANNELS]
    for value in (np.nan, np.inf):
        samples = bursts()
        samples[777] = value
        path = audio(tmp_path / "float.wav", samples, subtype="FLOAT")
        assert reasons(path) == [Reason.NOT_FINITE]
    both = inspect(Request(audio(tmp_path / "both.wav", stereo, 44100), sampling_rate=16000))
    assert [reason for reason, _ in both.faults] == [Reason.RATE, Reason.CHANNELS], "all faults, not the first"


def test_silence_digital_faint_or_steady(audio, bursts, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    assert reasons(audio(tmp_path / "zeros.wav", np.zeros(16000))) == [Reason.SILENT]
    assert reasons(audio(tmp_path / "faint.wav", 1e-4 * bursts(), subtype="FLOAT")) == [Reason.SILENT]
    assert reasons(audio(tmp_path / "hiss.wav", 0.05 * rng.standard_normal(32000))) == [Reason.SILENT]
    quiet = 0.01 * bursts() + 0.001 * rng.standard_normal(16000)
    assert reasons(audio(tmp_path / "quiet.wav", quiet)) == [], "speech at -50 dB over noise is kept"
    hiss = tmp_path / "hiss.wav"
    assert reasons(hiss, speech=False) == [], "noise for augmentation may be steady"
    assert reasons(tmp_path / "zeros.wav", speech=False) == [Reason.SILENT]


def test_spans_of_a_long_recording_are_judged_one_by_one(audio, bursts, tmp_path: Path) -> None:
    samples = np.concatenate([bursts(), np.zeros(16000), bursts()])
    path = audio(tmp_path / "long.wav", samples)
    spans = ((0.0, 1.0), (1.1, 1.9), (2.0, None), (2.5, 9.0), (1.0, 0.5))
    found = inspect(Request(path, spans))
    assert [(index, reason) for index, reason, _ in found.span_faults] == [
        (1, Reason.SILENT),
        (3, Reason.MALFORMED),
        (4, Reason.MALFORMED),
    ]
    assert "2.50 to 9.00 s of a file of 3.00 s" in found.span_faults[1][2]


def test_processes_give_what_one_gives_in_the_same_order(audio, tmp_path: Path) -> None:
    paths = [audio(tmp_path / f"{n}.wav", rate=8000 if n % 2 else 16000) for n in range(6)]
    requests = [Request(path, sampling_rate=16000) for path in paths]
    assert list(inspect_all(requests, 2)) == list(inspect_all(requests, 1))


def test_real_speech_is_not_silence(shared_data: Path) -> None:
    files = sorted((shared_data / "speechocean762/flac").rglob("*.flac"))[::40]
    assert len(files) >= 20
    assert {file.name: reasons(file) for file in files if reasons(file)} == {}
