"""steps.enhance_speech on recordings as users have them, and live through a pipe."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from steps import enhance_speech
from steps.models.separators import build_separator
from steps.tasks.config import load_config
from utils import config as config_file

ROOT = Path(__file__).resolve().parents[2]
CONF = "task: enhancement\nmodel: {architecture: demucs, sizes: {hidden: 4, depth: 2, zeros: 8}}\n"


@pytest.fixture
def model(tmp_path, monkeypatch):
    """An untrained network in model.pt of the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("conf.yaml").write_text(CONF)
    config = load_config("conf.yaml")
    torch.manual_seed(0)
    network = build_separator(config.model, 1).eval()
    torch.save({"model": network.state_dict(), "config": config_file.to_dict(config)}, "model.pt")
    return network


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(scale=0.1, size=samples).astype(np.float32)


def write(file, wave, rate=16000, **options):
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, wave, rate, **options)
    return file


def enhance(*arguments, out="out"):
    enhance_speech.main(["--checkpoint", "model.pt", "--out", out, "--device", "cpu", *map(str, arguments)])
    return {file.stem: soundfile.read(file, dtype="float32") for file in Path(out).glob("*.wav")}


def test_recordings_of_every_rate_keep_it_and_their_length(model):
    sizes = {8000: 4001, 16000: 7777, 44100: 20011, 48000: 24001}
    for rate, samples in sizes.items():
        write(f"in/{rate}/{rate}.wav", noise(samples), rate)
    found = enhance("in")
    assert {int(name): (len(wave), rate) for name, (wave, rate) in found.items()} == {
        rate: (samples, rate) for rate, samples in sizes.items()
    }
    with torch.no_grad():
        written = soundfile.read("in/16000/16000.wav", dtype="float32")[0]
        expected = model(torch.from_numpy(written)[None])[0, 0].numpy()
    assert np.abs(found["16000"][0] - expected).max() < 1e-5 * np.abs(expected).max()
    stats = json.loads(Path("out/stats.json").read_text())
    assert stats["audio_seconds"] == pytest.approx(sum(n / rate for rate, n in sizes.items()), abs=1e-3)
    assert stats["parameters"] == sum(value.numel() for value in model.parameters())
    assert stats["dry"] == 0
    assert stats["seconds"]["network"] <= stats["seconds"]["all"]


@pytest.mark.parametrize("rate", [16000, 44100])
def test_sounds_that_are_hard(model, rate):
    square = np.sign(np.sin(np.arange(3000) / 9)).astype(np.float32)
    sounds = {
        "silence": np.zeros(3000, np.float32), "clipped": square, "offset": np.full(3000, 0.5, np.float32),
        "short": noise(rate // 100), "one": np.array([0.5], np.float32),
    }  # fmt: skip
    for name, wave in sounds.items():
        write(f"in/{name}.wav", wave, rate, subtype="FLOAT")
    found = enhance("in")
    for name, wave in sounds.items():
        assert len(found[name][0]) == len(wave), name
        assert np.isfinite(found[name][0]).all(), name
    again = enhance("in", "enhance.dry=1", out="dry")
    if rate == 16000:
        for name, wave in sounds.items():
            assert np.array_equal(again[name][0], wave), name


def test_some_input_is_mixed_back(model):
    wave = noise(5000)
    write("a.wav", wave, subtype="FLOAT")
    Path("exp").mkdir()
    Path("exp/dry.json").write_text('{"dry": 0.25}')
    wet, dry = enhance("a.wav")["a"][0], enhance("a.wav", "--dry", "exp/dry.json", out="dry")["a"][0]
    np.testing.assert_allclose(dry, 0.75 * wet + 0.25 * wave, atol=1e-6)
    assert json.loads(Path("dry/stats.json").read_text())["dry"] == 0.25
    with pytest.raises(ValueError, match="made differently"):
        enhance("a.wav", "--dry", "0.1", out="dry")
    for wrong, message in (("1.5", "enhance.dry is a share"), ("much", "expected a number from 0 to 1, or EXP/dry")):
        with pytest.raises(ValueError, match=message):
            enhance("a.wav", "--dry", wrong, out="other")
    Path("exp/dry.json").write_text("{}")
    with pytest.raises(ValueError, match="no JSON with a number 'dry'"):
        enhance("a.wav", "--dry", "exp/dry.json", out="other")


def test_pcm_that_would_clip_is_turned_down(model):
    loud = np.clip(20 * noise(3000), -1, 1)
    write("a.wav", loud, subtype="PCM_24")
    heard = 4 * soundfile.read("a.wav", dtype="float32")[0]
    write("b.wav", heard, subtype="FLOAT")  # beyond full scale, which a float WAV file may be
    found = enhance("b.wav", "--dry", "1", "--subtype", "PCM_16")["b"][0]
    np.testing.assert_allclose(found / np.abs(found).max(), heard / np.abs(heard).max(), atol=1e-4)
    assert json.loads(Path("out/stats.json").read_text())["turned_down"]["b.wav"] == pytest.approx(-12.04, abs=0.02)


def test_what_cannot_be_enhanced_is_refused_before_anything_is_written(model):
    broken = noise(100)
    broken[7] = np.nan
    cases = {
        "stereo.wav": (np.stack([noise(100)] * 2, axis=1), "2 channels, expected one.*ffmpeg -i in.wav -ac 1"),
        "nan.wav": (broken, r"nan.wav: the sample at 0.000 s is not a finite number"),
        "empty.wav": (noise(0), "no samples, only a header"),
    }
    write("good.wav", noise(100))
    for name, (wave, message) in cases.items():
        write(name, wave, subtype="FLOAT")
        with pytest.raises(ValueError, match=message):
            enhance("good.wav", name)
        assert not Path("out").exists()
    with pytest.raises(FileNotFoundError, match=r"missing\.wav: there is no such file"):
        enhance("missing.wav")
    with pytest.raises(ValueError, match="is part of what is read"):
        enhance("good.wav", write("in/a.wav", noise(10)).rpartition("/")[0], out="in/out")


@pytest.mark.parametrize(
    "arguments",
    [["--pipe"], ["--pipe", "--rate", "0"], ["--pipe", "--rate", "8000", "a.wav"], ["a.wav"], ["--out", "out"],
     ["--out", "out", "--rate", "8000", "a.wav"], ["--pipe", "--rate", "8000", "--out", "out"]],
    ids=" ".join,
)  # fmt: skip
def test_files_or_a_pipe(arguments, capsys):
    with pytest.raises(SystemExit):
        enhance_speech.main(["--checkpoint", "model.pt", *arguments])
    assert "error: --pipe goes with" in (said := capsys.readouterr().err) or "error: give files" in said


def test_live_through_a_pipe(model):
    """A chunk's output is there before the next chunk is sent."""
    data = (32767 * np.clip(noise(6000), -1, 1)).astype("<i2").tobytes()
    chunk, latency = 2 * 2000, 2 * model.streamer().latency_samples
    arguments = ["--checkpoint", "model.pt", "--pipe", "--rate", "16000", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "steps.enhance_speech", *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        found = b""
        for start in range(0, len(data), chunk):
            process.stdin.write(data[start : start + chunk])
            process.stdin.flush()
            while len(found) < start + chunk - latency:  # it would wait for ever if nothing came
                found += os.read(process.stdout.fileno(), 1 << 16)
        rest, said = process.communicate(timeout=300)
    assert process.returncode == 0
    assert len(found + rest) == len(data)
    heard = torch.from_numpy(np.frombuffer(data, "<i2") / 32768).float()
    with torch.no_grad():
        expected = 32768 * model(heard[None])[0, 0].numpy()
    assert np.abs(np.frombuffer(found + rest, "<i2") - expected).max() <= 1.01
    assert b"latency: algorithmic" in said.splitlines()[0]
