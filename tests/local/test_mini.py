"""The mini corpus on disk: its layout, its bytes, and what interruption leaves."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest
import soundfile
from lhotse import RecordingSet, SupervisionSet
from lhotse.recipes import prepare_aishell

from local import mini, mini_plan, noise_dir
from local.mini_files import make_room
from local.mini_speech import speak
from local.mini_voices import Voice
from utils.provenance import StaleOutputError

SMALL = ["train.voices=2", "train.sentences=12", "dev.voices=1", "dev.sentences=2", "test.voices=1"]
SMALL += ["test.sentences=2", "noises=1", "noise_seconds=2"]
ANNA = Voice("f2", "F", 50, 170, 60)


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mini") / "mini 语料"
    mini.main(["--download", "--corpus-dir", str(folder), "--num-jobs", "2", *SMALL])
    return folder


def test_layout_is_that_of_aishell(corpus: Path) -> None:
    names = [name for name in tree(corpus) if name.endswith((".wav", ".txt", ".info"))]
    assert "data_aishell/wav/train/S0001/BAC009S0001W0121.wav" in names
    assert "data_aishell/wav/test/S0004/BAC009S0004W0122.wav" in names
    assert len([name for name in names if name.startswith("data_aishell/wav")]) == 28
    assert {"resource_aishell/lexicon.txt", "resource_aishell/speaker.info"} <= set(names)
    lines = (corpus / "data_aishell/transcript/aishell_transcript_v0.8.txt").read_text("utf-8").splitlines()
    assert len(lines) == 28 and lines[0].startswith("BAC009S0001W0121 ")
    info = soundfile.info(corpus / "data_aishell/wav/train/S0001/BAC009S0001W0121.wav")
    assert (info.samplerate, info.channels, info.subtype, info.format) == (16000, 1, "PCM_16", "WAV")
    speakers = (corpus / "resource_aishell/speaker.info").read_text().split()
    assert speakers[::2] == ["0001", "0002", "0003", "0004"] and set(speakers[1::2]) == {"M", "F"}
    words = {line.split()[0] for line in (corpus / "resource_aishell/lexicon.txt").read_text("utf-8").splitlines()}
    assert {word for line in lines for word in line.split()[1:]} <= words


def test_lhotse_reads_it_as_aishell(corpus: Path) -> None:
    manifests = prepare_aishell(corpus)
    assert {split: len(parts["supervisions"]) for split, parts in manifests.items()} == {
        "train": 24,
        "dev": 2,
        "test": 2,
    }


def test_one_job_gives_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    mini.main(["--download", "--corpus-dir", str(tmp_path / "mini"), *SMALL])
    assert tree(tmp_path / "mini") == tree(corpus)


def test_an_utterance_does_not_depend_on_the_rest_of_the_corpus(corpus: Path) -> None:
    settings = mini.config.load(mini_plan.MiniConfig, None, SMALL)
    plan = mini_plan.make_plan(settings)
    for recording in (plan[-1], plan[3]):
        path = corpus / "data_aishell/wav" / recording.split / recording.speaker / f"{recording.id}.wav"
        samples, _ = soundfile.read(path, dtype="int16")
        np.testing.assert_array_equal(mini.render(recording, settings.seed), samples)
        assert not np.array_equal(mini.render(recording, settings.seed + 1), samples)


def test_other_noise_takes_the_place_of_its_own(corpus: Path, tmp_path: Path, audio) -> None:
    audio(tmp_path / "noises/fan.wav", np.ones(1600) * 0.1)
    data = tmp_path / "data"
    for _ in range(2):  # a second run finds all done
        mini.main(["--corpus-dir", str(corpus), "--out-dir", str(data), "--without", "noise"])
        noise_dir.main(["--corpus-dir", str(tmp_path / "noises"), "--out-dir", str(data)])
    assert [c.id for c in RecordingSet.from_file(data / "recordings_noise.jsonl.gz")] == ["noise-fan"]
    with pytest.raises(StaleOutputError, match=r"option folder: .*noises.* now") as error:
        mini.main(["--corpus-dir", str(corpus), "--out-dir", str(data)])
    assert len(str(error.value)) < 600  # not a list of every file


def test_preparation_gives_manifests_lexicon_and_noise(corpus: Path, tmp_path: Path) -> None:
    mini.main(["--corpus-dir", str(corpus), "--out-dir", str(tmp_path / "data")])
    speakers = set()
    for split, count in (("train", 24), ("dev", 2), ("test", 2)):
        recordings = RecordingSet.from_file(tmp_path / f"data/recordings_{split}.jsonl.gz")
        supervisions = list(SupervisionSet.from_file(tmp_path / f"data/supervisions_{split}.jsonl.gz"))
        assert len(recordings) == len(supervisions) == count
        assert all(" " in s.text and s.language == "Chinese" for s in supervisions)
        assert speakers.isdisjoint(s.speaker for s in supervisions)
        speakers |= {s.speaker for s in supervisions}
    assert (tmp_path / "data/lexicon.txt").read_bytes() == (corpus / "resource_aishell/lexicon.txt").read_bytes()
    noises = RecordingSet.from_file(tmp_path / "data/recordings_noise.jsonl.gz")
    assert sorted(c.id for c in noises) == [f"noise-{k}_000" for k in ("babble", "clicks", "coloured", "hum")]
    assert all(np.abs(cut.load_audio()).max() > 0.01 and cut.duration == 2.0 for cut in noises)
    assert not list((tmp_path / "data").glob("bad*"))


def test_again_does_nothing_and_another_configuration_stops(corpus: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    mini.main(["--download", "--corpus-dir", str(corpus), *SMALL])
    with pytest.raises(ValueError, match=r"option snr: \[10.0, 30.0\] then, \[0.0, 5.0\] now"):
        mini.main(["--download", "--corpus-dir", str(corpus), *SMALL, "snr=[0,5]"])
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before


def test_configuration_file_and_wrong_keys(tmp_path: Path) -> None:
    (tmp_path / "mini.yaml").write_text("train: {voices: 3}\nseeds: 1\n")
    with pytest.raises(ValueError, match="unknown key 'seeds'; did you mean 'seed'"):
        mini.main(["--download", "--corpus-dir", str(tmp_path / "x"), "--config", str(tmp_path / "mini.yaml")])
    with pytest.raises(ValueError, match="dev needs a voice"):
        mini.main(["--download", "--corpus-dir", str(tmp_path / "x"), "dev.voices=0"])


def test_a_folder_with_other_content_is_refused_and_an_empty_one_used(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds no mini corpus"):
        mini.main(["--download", "--corpus-dir", str(tmp_path / "full"), *SMALL])
    assert (tmp_path / "full/thesis.txt").exists()
    (tmp_path / "empty").mkdir()
    make_room(tmp_path / "empty", "transcript")
    assert not (tmp_path / "empty").exists()


def test_a_killed_run_leaves_nothing_that_is_trusted(corpus: Path, tmp_path: Path, root: Path) -> None:
    folder = tmp_path / "mini"
    command = [sys.executable, "-m", "local.mini", "--download", "--corpus-dir", str(folder), *SMALL]
    run = subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    try:
        while run.poll() is None and not list(tmp_path.glob(".tmp-*/data_aishell/wav/train/S0001/*.wav")):
            time.sleep(0.005)
        assert run.poll() is None, "it was to be killed while it wrote"
    finally:
        run.kill()
        run.wait()
    assert not folder.exists()
    (left,) = tmp_path.glob(".tmp-*")
    mini.main(["--download", "--corpus-dir", str(folder), *SMALL])
    assert not left.exists()
    assert tree(folder) == tree(corpus)


SPEAK_ELSEWHERE = """
import hashlib, sys
import espeakng_loader
if sys.argv[1:]:
    espeakng_loader.get_data_path = lambda: sys.argv[1]
from local.mini_speech import speak
from local.mini_voices import Voice
from utils.provenance import StaleOutputError
print(hashlib.sha256(speak("ni3hao3 bei3jing1", Voice("f2", "F", 50, 170, 60)).tobytes()).hexdigest())
"""


def digest_elsewhere(root: Path, *arguments: str) -> str:
    """The digest of ANNA's speech in another process."""
    command = [sys.executable, "-c", SPEAK_ELSEWHERE, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_speech_depends_on_text_and_voice_alone(root: Path) -> None:
    alone = speak("ni3hao3 bei3jing1", ANNA)
    speak("da3kai1 deng1", Voice("klatt2", "M", 40, 200, 70))
    np.testing.assert_array_equal(speak("ni3hao3 bei3jing1", ANNA), alone)
    assert digest_elsewhere(root) == hashlib.sha256(alone.tobytes()).hexdigest()
    assert not np.array_equal(speak("ni3hao3 bei3jing1", Voice("f2", "F", 60, 170, 60))[:20000], alone[:20000])
    slow = speak("ni3hao3 bei3jing1", Voice("f2", "F", 50, 120, 60))
    assert len(slow) > 1.2 * len(alone)


def test_a_long_path_to_the_voices_makes_no_difference(tmp_path: Path, root: Path) -> None:
    far = tmp_path / "深 目录" / ("x" * 150) / "espeak-ng-data"
    far.parent.mkdir(parents=True)
    far.symlink_to(espeakng_loader.get_data_path())
    assert digest_elsewhere(root, str(far)) == digest_elsewhere(root)


def test_tones_are_heard() -> None:
    def pitch(syllable: str) -> tuple[float, float]:
        """Fundamental frequency in Hz early and late in the vowel."""
        samples = speak(syllable, Voice("m3", "M", 50, 120, 60))
        loud = np.flatnonzero(np.abs(samples) > 0.05)
        middle = samples[loud[0] : loud[-1]]
        return tuple(autocorrelation_pitch(middle[int(len(middle) * at) :][:1600]) for at in (0.15, 0.7))

    rise = {tone: np.log2(late / early) for tone in "124" for early, late in [pitch(f"ma{tone}")]}
    assert rise["4"] < rise["1"] - 0.05 and rise["2"] > 0.05 and abs(rise["1"]) < 0.2


def autocorrelation_pitch(samples: np.ndarray) -> float:
    correlation = np.correlate(samples, samples, "full")[len(samples) - 1 :]
    shortest, longest = 22050 // 200, 22050 // 60
    return 22050 / (shortest + int(np.argmax(correlation[shortest:longest])))


def test_an_unknown_variant_is_an_error() -> None:
    with pytest.raises(OSError, match="no variant 'nobody'"):
        speak("ni3hao3", Voice("nobody", "F", 50, 170, 60))
