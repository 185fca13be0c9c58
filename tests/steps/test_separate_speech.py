"""steps.separate_speech: files of any rate there and back, and every refusal before anything is written.

The model is a stand-in of 8 kHz: what is below 1500 Hz, and what is above.
"""

import json

import numpy as np
import pytest
import soundfile
import torch

from steps import separate_speech
from steps.tasks.config import SeparationConfig
from utils import config as config_file

RATE = 8000
TONES = (500, 2500)  # Hz


class Halves(torch.nn.Module):
    """(N, T) -> (N, 2, T), the high half first; with an enrolment (N, E) -> (N, 1, T), the low half at E's scale."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(3.0))
        self.seen = []

    def forward(self, mixture, enrolment=None):
        self.seen.append(tuple(mixture.shape))
        spectrum = torch.fft.rfft(mixture)
        low = torch.fft.rfftfreq(mixture.shape[1], 1 / RATE) < 1500
        halves = [torch.fft.irfft(spectrum * part, n=mixture.shape[1]) for part in (~low, low)]
        if enrolment is not None:
            return self.gain * enrolment.norm(dim=1).view(-1, 1, 1) * halves[1].unsqueeze(1)
        return self.gain * torch.stack([halves[0], -0.1 * halves[1]], dim=1)


@pytest.fixture
def model(tmp_path, monkeypatch):
    """The stand-in, which any checkpoint holds."""
    found, config = Halves(), SeparationConfig(task="separation")
    config.mixtures.sampling_rate = RATE
    config.separate.window_seconds, config.separate.overlap_seconds = 2.0, 0.5
    monkeypatch.setattr("steps.tasks.separation.load_separator", lambda path, device: (found.to(device), config))
    (tmp_path / "model.pt").write_bytes(b"weights")
    found.config = config
    return found


def tones(rate, seconds, level=0.3):
    """(2, samples): one tone each."""
    time = np.arange(round(rate * seconds)) / rate
    return level * np.sin(2 * np.pi * np.array(TONES)[:, None] * time)


def write(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def separate(tmp_path, *arguments, out="out"):
    options = ["--checkpoint", tmp_path / "model.pt", "--out", tmp_path / out, "--device", "cpu"]
    separate_speech.main([str(argument) for argument in (*options, *arguments)])
    return tmp_path / out


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_outputs_have_the_rate_the_samples_and_the_level_of_the_file(model, tmp_path, rate):
    sources = tones(rate, 5.01)
    out = separate(tmp_path, write(tmp_path / "in/x.wav", sources.sum(0), rate))
    assert sorted(file.name for file in out.iterdir()) == ["stats.json", "x_1.wav", "x_2.wav"]
    inside = slice(rate // 10, -rate // 10)
    for number, tone in ((1, sources[1]), (2, sources[0])):
        made, made_rate = soundfile.read(out / f"x_{number}.wav")
        assert (len(made), made_rate) == (len(tone), rate)
        assert np.square(made[inside] - tone[inside]).mean() < 1e-4 * np.square(tone).mean()


def test_directories_jobs_overrides_and_stats(model, tmp_path):
    lengths = {"a": 1.5, "b": 3.0, "c": 4.0}
    for name, seconds in lengths.items():
        write(tmp_path / f"in/{name}/{name}.wav", tones(RATE, seconds).sum(0))
    arguments = [tmp_path / "in", "separate.window_seconds=3", "--num-jobs", 2]
    first = separate(tmp_path, *arguments, "--job", 1, out="1")
    second = separate(tmp_path, *arguments, "--job", 2, out="2")
    assert sorted(file.name for file in first.glob("*.wav")) == ["a_1.wav", "a_2.wav", "c_1.wav", "c_2.wav"]
    assert sorted(file.name for file in second.glob("*.wav")) == ["b_1.wav", "b_2.wav"]
    assert model.seen == [(1, 12000), (1, 24000), (1, 24000), (1, 24000)]
    stats = json.loads((first / "stats.json").read_text())
    assert (stats["job"], stats["num_jobs"], stats["audio_seconds"], stats["parameters"]) == (1, 2, 5.5, 1)
    assert 0 < stats["seconds"]["network"] <= stats["seconds"]["all"]
    assert stats["peak_memory"]["host"] > 0 and stats["checkpoint"].endswith("model.pt")


def test_pcm_is_turned_down_and_says_so(model, tmp_path):
    file = write(tmp_path / "in/x.wav", 4 * tones(RATE, 2).sum(0))
    out = separate(tmp_path, file, "--subtype", "PCM_24")
    assert soundfile.info(out / "x_1.wav").subtype == "PCM_24"
    peaks = [np.abs(soundfile.read(out / f"x_{number}.wav")[0]).max() for number in (1, 2)]
    assert max(peaks) == pytest.approx(1, abs=1e-6) and min(peaks) == pytest.approx(1, rel=0.05)
    turned = json.loads((out / "stats.json").read_text())["turned_down"]
    assert turned == {"x.wav": pytest.approx(20 * np.log10(1 / 1.2), abs=0.3)}
    assert np.abs(soundfile.read(separate(tmp_path, file, out="float") / "x_1.wav")[0]).max() > 1.1


def test_what_is_done_is_not_done_again(model, tmp_path):
    file = write(tmp_path / "in/x.wav", tones(RATE, 1).sum(0))
    separate(tmp_path, tmp_path / "in")
    calls = len(model.seen)
    separate(tmp_path, tmp_path / "in")
    assert len(model.seen) == calls
    write(file, tones(RATE, 1.5).sum(0))
    with pytest.raises(ValueError, match=r"made differently: input .*in has changed"):
        separate(tmp_path, tmp_path / "in")


def test_one_talker_is_extracted_by_the_voice_of_an_enrolment(model, tmp_path, monkeypatch):
    asked = []

    def embedding(*arguments):
        asked.append(arguments)
        return torch.tensor([[0.6, 0.8]])

    monkeypatch.setattr("steps.inference.separation.enrolment_embedding", embedding)
    file, voice = (write(tmp_path / f"in/{name}.wav", tones(RATE, 5).sum(0)) for name in ("x", "voice"))
    (tmp_path / "speaker.pt").write_bytes(b"weights")
    enrolment = ["--enrolment", voice, "--speaker-model", tmp_path / "speaker.pt"]
    with pytest.raises(ValueError, match=r"model\.pt is a conv_tasnet: it separates all talkers; leave --enrolment"):
        separate(tmp_path, file, *enrolment)
    model.config.model.architecture = "voicefilter"
    with pytest.raises(ValueError, match=r"it extracts one talker; give a recording of him with --enrolment"):
        separate(tmp_path, file)
    out = separate(tmp_path, file, *enrolment)
    assert asked == [(voice, tmp_path / "speaker.pt", torch.device("cpu"))]
    assert sorted(file.name for file in out.glob("*.wav")) == ["x_1.wav"]
    tone, made = tones(RATE, 5)[0], soundfile.read(out / "x_1.wav")[0]
    assert np.square(made - tone).mean() < 1e-3 * np.square(tone).mean()
    with pytest.raises(SystemExit):
        separate(tmp_path, file, *enrolment[:2])


def test_refusals_name_the_file_and_leave_nothing(model, tmp_path):
    good = write(tmp_path / "in/good.wav", tones(RATE, 1).sum(0))
    wrong = {
        "stereo": (tones(RATE, 1).T, "2 channels, expected one.*sox .* remix 1.*ffmpeg"),
        "nan": (np.full(100, np.nan), "the sample at 0.000 s is not a finite number"),
        "empty": (np.zeros(0), "no samples, only a header"),
    }
    for name, (samples, message) in wrong.items():
        file = write(tmp_path / f"wrong/{name}.wav", samples)
        with pytest.raises(ValueError, match=rf"{name}\.wav: {message}"):
            separate(tmp_path, good, file)
    (tmp_path / "wrong/text.wav").write_text("not audio")
    with pytest.raises(ValueError, match=r"text\.wav: no audio that can be read"):
        separate(tmp_path, good, tmp_path / "wrong/text.wav")
    same = write(tmp_path / "other/good.wav", np.zeros(0))
    with pytest.raises(ValueError, match="are both called good"):
        separate(tmp_path, good, same)
    with pytest.raises(FileNotFoundError, match=r"none\.wav: there is no such file or directory"):
        separate(tmp_path, tmp_path / "none.wav")
    with pytest.raises(ValueError, match=r"--out .* is part of what is read"):
        separate(tmp_path, tmp_path / "in", out="in/out")
    with pytest.raises(config_file.ConfigError, match=r"unknown key 'separate\.window'"):
        separate(tmp_path, good, "separate.window=3")
    with pytest.raises(SystemExit):
        separate(tmp_path, "separate.batch=3")
    assert model.seen == []
    assert not [file.name for file in tmp_path.iterdir() if "out" in file.name]
