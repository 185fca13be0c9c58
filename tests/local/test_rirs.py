"""Impulse responses: those of openslr 28, and those that the mini corpus makes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lhotse import RecordingSet

from local import rirs
from local.mini_channel import channel
from local.mini_rirs import SPEED, Room, make_rooms, reflection, response


@pytest.fixture
def corpus(tmp_path: Path, audio) -> Path:
    root, click = tmp_path / "down load/RIRS_NOISES", np.eye(1, 800, 5)[0]
    for number in (1, 2):
        audio(root / f"simulated_rirs/smallroom/Room001/Room001-0000{number}.wav", 0.5 * click)
    audio(root / "simulated_rirs/largeroom/Room001/Room001-00001.wav", 0.5 * click)
    real = root / "real_rirs_isotropic_noises"
    audio(real / "RWCP_type1_rir_a.wav", np.stack([0.5 * click, 0.25 * click, 0.1 * click], axis=1))
    audio(real / "air_type1_air_binaural_stairway.wav", 0.5 * click)
    audio(real / "RVB2014_type1_noise_far.wav", np.ones((1600, 8)) * 0.1)
    audio(root / "pointsource_noises/noise-free-sound-0000.wav")
    return root.parent


def load(out: Path, kind: str = "rir") -> dict:
    return {r.id: r for r in RecordingSet.from_file(out / f"recordings_{kind}.jsonl.gz")}


def test_simulated_and_real_responses(corpus: Path, tmp_path: Path) -> None:
    rirs.main(["--download", "--corpus-dir", str(corpus), "--out-dir", str(tmp_path / "data")])
    found = load(tmp_path / "data")
    assert sorted(found) == [
        "rir-real_rirs_isotropic_noises-RWCP_type1_rir_a",
        "rir-real_rirs_isotropic_noises-air_type1_air_binaural_stairway",
        "rir-simulated_rirs-largeroom-Room001-Room001-00001",
        "rir-simulated_rirs-smallroom-Room001-Room001-00001",
        "rir-simulated_rirs-smallroom-Room001-Room001-00002",
    ]
    several = found["rir-real_rirs_isotropic_noises-RWCP_type1_rir_a"]
    assert several.num_channels == 3
    for first in (several.load_audio(channels=0)[0], several.to_cut().load_audio()[0]):
        assert first.shape == (800,) and first[5] == pytest.approx(0.5, abs=1e-4)
    assert not (tmp_path / "data/recordings_noise.jsonl.gz").exists()


def test_parts_and_noises(corpus: Path, tmp_path: Path) -> None:
    options = ["--corpus-dir", str(corpus / "RIRS_NOISES"), "--out-dir", str(tmp_path / "data")]
    rirs.main([*options, "--parts", "simulated", "--pointsource-noises"])
    assert len(load(tmp_path / "data")) == 3
    assert list(load(tmp_path / "data", "noise")) == ["noise-noise-free-sound-0000"]
    (corpus / "RIRS_NOISES/simulated_rirs").rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError, match="has no simulated_rirs; expected"):
        rirs.prepare(corpus, tmp_path / "other")
    rirs.prepare(corpus, tmp_path / "other", parts=["real"])
    assert len(load(tmp_path / "other")) == 2


def test_any_folder_of_responses(tmp_path: Path, audio) -> None:
    for name in ("hall/noise lab.wav", "kitchen.wav"):
        audio(tmp_path / "my rooms" / name, 0.5 * np.eye(1, 800, 5)[0])
    rirs.main(["--corpus-dir", str(tmp_path / "my rooms"), "--out-dir", str(tmp_path / "data")])
    assert sorted(load(tmp_path / "data")) == ["rir-hall-noise_lab", "rir-kitchen"]
    with pytest.raises(FileNotFoundError, match="has no simulated_rirs"):  # these are of RIRS_NOISES alone
        rirs.prepare(tmp_path / "my rooms", tmp_path / "other", noises=True)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FileNotFoundError, match="has no simulated_rirs"):
        rirs.prepare(tmp_path / "nothing", tmp_path / "other")


def test_a_first_reflection_comes_when_and_as_loud_as_it_must() -> None:
    room = Room("r", (9.0, 8.0, 7.0), (3.0, 4.0, 3.5), (5.0, 4.0, 3.5), 0.5)
    heard, beta = response(room), reflection(room)
    # The 2 m of the direct sound, then floor and ceiling together, way 2 sqrt(1 + 3.5^2); all before any other wall.
    way = 2 * np.sqrt(1 + 3.5**2)
    at = 16 + round((way - 2) / SPEED * 16000)
    assert np.argmax(np.abs(heard)) == 16 and heard[16] == pytest.approx(0.9, abs=0.02)
    assert np.argmax(np.abs(heard[30 : at + 8])) + 30 == pytest.approx(at, abs=1)
    assert heard[at] / heard[16] == pytest.approx(2 * beta * 2 / way, abs=0.06)


def test_rooms_decay_as_their_walls_say_and_do_not_depend_on_each_other() -> None:
    rooms = make_rooms(12, 0)
    assert rooms[:5] == make_rooms(5, 0) and rooms[0] != make_rooms(1, 1)[0]
    for room in rooms:
        heard = response(room)
        energy = np.cumsum(heard[::-1] ** 2)[::-1]
        decay = 10 * np.log10(energy / energy[0] + 1e-12)
        times = [np.flatnonzero(decay < -level)[0] / 16000 for level in (5, 25)]
        assert 3 * (times[1] - times[0]) == pytest.approx(room.t60, rel=0.35)
        assert np.abs(heard).argmax() == 16 and np.abs(heard).max() == pytest.approx(0.9)
        assert 0.5 <= np.linalg.norm(np.subtract(room.source, room.microphone)) <= 2.0
        quicker = response(replace(room, t60=room.t60 / 2))
        assert np.sum(quicker[100:] ** 2) < np.sum(heard[100:] ** 2)


def test_a_line_passes_its_band_and_tilts() -> None:
    time = np.arange(16000) / 16000
    tones = {f: np.hanning(16000) * np.sin(2 * np.pi * f * time) for f in (100, 1000, 2000, 6000)}
    power = {f: np.mean(channel(tone, 300, 3400) ** 2) / np.mean(tone**2) for f, tone in tones.items()}
    assert power[100] < 1e-6 and power[6000] < 1e-6
    assert power[1000] == pytest.approx(1, abs=1e-3) == power[2000]
    tilted = channel(np.stack([tones[1000], tones[2000]]), 40, 8000, 3.0)
    gain = 10 * np.log10(np.mean(tilted**2, axis=1) / np.mean(tones[1000] ** 2))
    assert gain == pytest.approx([0, 3], abs=0.05)
