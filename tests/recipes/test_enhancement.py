"""egs/aishell_noisy/enhancement from data to report, as a user meets it, on a smaller corpus than the README's."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

pytestmark = pytest.mark.slow

OF = "aishell_noisy/enhancement"
CORPUS = """
t60: [0.1, 0.2]
direct_to_reverb: [18.0, 24.0]
snr: [20.0, 30.0]
train: {voices: 12, sentences: 6}
dev: {voices: 4, sentences: 4}
test: {voices: 4, sentences: 4}
noises: 12
"""
CONF = """
task: enhancement
mixtures:
  sampling_rate: 16000
  noise_snr: {train: [-5.0, 10.0], dev: [0.0, 5.0], test: [0.0, 5.0]}
  sets: {noisy: {train: 400, dev: 6, test: 8}}
data: {kinds: [noisy], chunk_seconds: 1.0, batch_size: 8, num_workers: 0}
model: {architecture: nsnet2, sizes: {n_fft: 512, hop: 256, hid_size: 64, fc_size: 96, complex_mask: true}}
loss: {l1: 0.0, stft: 0.0, si_sdr: 0.03, compressed: 1.0}
training: {epochs: 6, lr: 4.0e-3, warmup_steps: 20, log_every: 20, save_every: 60, average_period: 2}
average: {last_epochs: [1, 2]}
score: {resamples: 200}
"""


@pytest.fixture(scope="module")
def done(run_small):
    """The whole recipe, run."""
    return run_small(OF, CONF, CORPUS)


@pytest.fixture(scope="module")
def mixtures(done):
    """The noisy recordings of the test set, sorted."""
    found = sorted((done.folder / "data/mini/mixtures_noisy_test/mix").glob("*.flac"))
    assert len(found) == 8
    return found


def test_from_data_to_report(done):
    found = done.results()
    assert found["task"] == "enhancement"
    (system,) = found["systems"]
    assert system["metrics"]["si_sdri"]["low"] > 1.0  # it learns, in seconds, on voices and noises it never heard
    assert system["metrics"]["stoi"]["value"] > 0.5
    assert "no speaker, utterance, noise recording or room is in two splits" in done.printed
    for name in ("model.onnx", "model.int8.onnx", "model.streaming.onnx", "report.html", "audit.json"):
        assert (done.exp / name).stat().st_size > 100


def test_a_second_run_has_nothing_to_do(done):
    done.check_that_a_second_run_has_nothing_to_do()


def test_a_pipe_gives_what_a_file_gives(house, done, mixtures, tmp_path):
    command = [sys.executable, "-m", "steps.enhance_speech", "--checkpoint", str(done.exp / "checkpoints/averaged.pt")]
    subprocess.run([*command, "--out", str(tmp_path / "out"), str(mixtures[0])], cwd=house, check=True)
    whole, rate = soundfile.read(tmp_path / f"out/{mixtures[0].stem}.wav")
    pcm = np.round(soundfile.read(mixtures[0])[0] * 32768).clip(-32768, 32767).astype("<i2")
    live = subprocess.run(
        [*command, "--pipe", "--rate", f"{rate}"], cwd=house, input=pcm.tobytes(), capture_output=True, check=True
    )
    heard = np.frombuffer(live.stdout, "<i2") / 32768
    assert len(heard) == len(whole)
    np.testing.assert_allclose(heard, whole, atol=2e-3)  # samples of 16 bits went in and came out


def test_sherpa_onnx_streams_the_exported_model(done, house, mixtures, tmp_path):
    sherpa_onnx = pytest.importorskip("sherpa_onnx")
    words = ["--model", str(done.exp / "model.onnx"), "--out", str(tmp_path / "out"), str(mixtures[0])]
    subprocess.run([sys.executable, "-m", "steps.run_onnx", *words], cwd=house, check=True)
    (file,) = (tmp_path / "out").iterdir()
    whole = soundfile.read(file)[0]
    network = sherpa_onnx.OfflineSpeechDenoiserGtcrnModelConfig(model=str(done.exp / "model.streaming.onnx"))
    config = sherpa_onnx.OnlineSpeechDenoiserConfig(model=sherpa_onnx.OfflineSpeechDenoiserModelConfig(gtcrn=network))
    denoiser = sherpa_onnx.OnlineSpeechDenoiser(config)
    wave, rate = soundfile.read(mixtures[0], dtype="float32")
    parts = [denoiser(wave[place : place + 999], rate).samples for place in range(0, len(wave), 999)]
    heard = np.concatenate([*parts, denoiser.flush().samples])
    length = min(len(heard), len(whole)) // 256 * 256 - 256
    rest = heard[:length] - whole[:length]
    assert 10 * np.log10(np.square(whole[:length]).sum() / np.square(rest).sum()) > 60
