"""egs/aishell_mix/separation from data to report, as a user meets it, on a smaller corpus than the README's."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

pytestmark = pytest.mark.slow

OF = "aishell_mix/separation"
CORPUS = """
t60: [0.1, 0.2]
direct_to_reverb: [18.0, 24.0]
snr: [20.0, 30.0]
train: {voices: 16, sentences: 6}
dev: {voices: 4, sentences: 4}
test: {voices: 4, sentences: 4}
noises: 1
"""
CONF = """
task: separation
mixtures:
  sampling_rate: 8000
  sets: {full: {train: 400, dev: 8, test: 8}, partial: {train: 12, dev: 6, test: 6}}
data: {kinds: [full], chunk_seconds: 1.0, batch_size: 8, num_workers: 0}
model: {architecture: blstm_mask, sizes: {hid_size: 64}}
training: {epochs: 12, lr: 4.0e-3, warmup_steps: 20, log_every: 20, save_every: 60, average_period: 2}
average: {last_epochs: [1, 2]}
score: {resamples: 200}
"""


@pytest.fixture(scope="module")
def done(run_small):
    """The whole recipe, run."""
    return run_small(OF, CONF, CORPUS)


def test_from_data_to_report(done):
    found = done.results()
    assert found["task"] == "separation"
    full, partial = found["systems"]
    assert [system["name"] for system in (full, partial)] == ["full", "partial"]
    assert full["metrics"]["si_sdri"]["value"] > 0.5  # it learns, in seconds
    assert full["metrics"]["si_sdri"]["low"] < full["metrics"]["si_sdri"]["high"]
    assert "no speaker, utterance, noise recording or room is in two splits" in done.printed
    for name in ("model.onnx", "model.int8.onnx", "report.html", "audit.json"):
        assert (done.exp / name).stat().st_size > 100
    epochs = [json.loads(line) for line in (done.exp / "metrics.jsonl").read_text().splitlines()]
    assert any("pit_switch_rate" in line for line in epochs)


def test_outputs_add_up_to_their_mixture(done):
    for kind in ("full", "partial"):
        mixtures = sorted((done.folder / f"data/mini/mixtures_{kind}_test/mix").glob("*.flac"))
        for file in mixtures:
            wave, rate = soundfile.read(file)
            outputs = sorted((done.exp / f"estimates_{kind}_test").glob(f"*/{file.stem}_*.wav"))
            waves = [soundfile.read(output) for output in outputs]
            assert len(waves) == 2 and {r for _, r in waves} == {rate}
            assert all(len(one) == len(wave) for one, _ in waves)
            rest = wave - sum(one for one, _ in waves)
            assert np.mean(rest**2) < 0.9 * np.mean(wave**2)


def test_a_second_run_has_nothing_to_do(done):
    done.check_that_a_second_run_has_nothing_to_do()


def test_the_exported_model_separates_a_file(done, house, tmp_path):
    file = sorted((done.folder / "data/mini/mixtures_full_test/mix").glob("*.flac"))[0]
    command = [sys.executable, "-m", "steps.run_onnx", "--model", str(done.exp / "model.onnx")]
    subprocess.run([*command, "--out", str(tmp_path / "out"), str(file)], cwd=house, check=True)
    wave, rate = soundfile.read(file)
    for number in (1, 2):
        one, found = soundfile.read(tmp_path / f"out/{file.stem}_{number}.wav")
        assert (len(one), found) == (len(wave), rate)
