"""steps.measure_speech and steps.score_speech on mixtures of tones and noise whose scores are known beforehand."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from scipy.signal import resample_poly

from steps import measure_speech, score_speech
from steps.data.features import make_extractor
from steps.data.mixture import Mixture, Noise, Source, read_plan, rendered_file, write_plan
from steps.decoding.ctc import greedy_search
from steps.inference.transcription import Transcriber
from steps.metrics import speech_tables
from steps.metrics.separation import si_sdr
from steps.models.config import ConformerConfig
from steps.models.conformer import ConformerCtc
from steps.tasks.config import AsrConfig
from steps.training.checkpoint import save_checkpoint
from utils import atomic
from utils import config as config_file

RATE, SAMPLES = 8000, 8000
SPEAKERS = ["A", "B", "C", "D"]
TEXTS = {speaker: text for speaker, text in zip(SPEAKERS, ["打开灯", "关上灯", "打开门", "关上窗"], strict=True)}
CONFIG = """
task: separation
seed: 2
mixtures: {sampling_rate: 8000}
score: {metrics: [si_sdr, stoi, leak], resamples: 200}
"""


def voice(seed: int, samples: int) -> np.ndarray:
    return 0.05 * np.random.default_rng(seed).normal(size=samples)


def sources_of(index: int) -> tuple[Source, ...]:
    """Pairs of talkers in turn; every other mixture overlaps by half, and its second talker is 6 dB quieter."""
    first, second = [(a, b) for a in SPEAKERS for b in SPEAKERS if a < b][index % 6]
    half = SAMPLES // 2
    if index % 2:
        return Source(first, first, 0, SAMPLES, 0, 1.0), Source(second, second, 0, SAMPLES, half, 0.5)
    return Source(first, first, 0, SAMPLES, 0, 1.0), Source(second, second, 0, SAMPLES, 0, 1.0)


def write(folder, part, name, wave):
    file = rendered_file(folder, part, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, wave, RATE, subtype="PCM_24")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Twelve mixtures and their outputs by two jobs: each with a tenth of the other talker, and in reverse order."""
    monkeypatch.chdir(tmp_path)
    rows, references = [], tmp_path / "data/mixtures_partial_test"
    for index in range(12):
        sources, name = sources_of(index), f"partial-test-{index:06d}"
        length = max(source.offset + source.samples for source in sources)
        parts = np.zeros((2, length))
        for number, source in enumerate(sources):
            span = slice(source.offset, source.offset + source.samples)
            parts[number, span] = source.gain * voice(10 * index + number, SAMPLES)
        overlap, difference = (0.5, 6.02) if index % 2 else (1.0, 0.0)
        rows.append(Mixture(name, "partial", "test", index, RATE, length, sources, None, overlap, difference))
        for number, part in enumerate(parts, start=1):
            write(references, f"s{number}", name, part)
        write(references, "mix", name, parts.sum(axis=0))
        job = tmp_path / f"exp/estimates_partial_test/{1 + index % 2}"
        job.mkdir(parents=True, exist_ok=True)
        for number, part in enumerate(parts[::-1] + 0.1 * parts, start=1):
            soundfile.write(job / f"{name}_{number}.wav", part, RATE, subtype="FLOAT")
    (tmp_path / "data").mkdir(exist_ok=True)
    write_plan(rows, tmp_path / "data/plan_partial_test.jsonl.gz")
    (tmp_path / "exp/config.yaml").write_text(CONFIG)
    for job in (1, 2):
        stats = {"job": job, "num_jobs": 2, "audio_seconds": 8.0, "seconds": {"all": 1.0, "network": 0.5}}
        facts = {"parameters": 7, "device": "CPU", "checkpoint": "model.pt", "peak_memory": {"host": job}}
        atomic.write_json(tmp_path / f"exp/estimates_partial_test/{job}/stats.json", {**stats, **facts})
    return tmp_path


def measure(kind="partial_test", job=1, num_jobs=1, *more):
    measure_speech.main(
        [
            *("--plan", f"data/plan_{kind}.jsonl.gz", "--references", f"data/mixtures_{kind}"),
            *("--estimates", f"exp/estimates_{kind}", "--out", f"exp/measures_{kind}/{job}"),
            *("--job", str(job), "--num-jobs", str(num_jobs), "--config", "exp/config.yaml", *more),
        ]
    )


def score(*sets):
    score_speech.main(["--exp", "exp", "--corpus", "tones", "--command", "./run.sh", "--sets", *sets])
    return json.loads(Path("exp/results.json").read_text(encoding="utf-8"))


def lines(run, kind="partial_test"):
    files = sorted((run / f"exp/measures_{kind}").glob("*/measures.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_in_rooms_the_early_part_is_the_reference(run):
    """Of one mixture in three, as a share of them is in rooms; the others have no targets beside their sources."""
    name = "partial-test-000003"
    wave = [
        soundfile.read(rendered_file(run / "data/mixtures_partial_test", f"s{number}", name))[0] for number in (1, 2)
    ]
    for number in (1, 2):  # as if the talkers had changed places, which only these targets say
        write(run / "data/mixtures_partial_test", f"target{number}", name, wave[2 - number])
    measure()
    found = {line["id"]: line["permutation"] for line in lines(run)}
    assert len(found) == 12
    assert found[name] == [0, 1]
    assert all(permutation == [1, 0] for id, permutation in found.items() if id != name)


def test_scores_are_what_the_signals_say(run, capsys):
    for job in (1, 2, 3):
        measure("partial_test", job, 3, "score.metrics=[si_sdr,sdr,pesq_wb,leak]")
    measured = {line["id"]: line for line in lines(run)}
    assert len(measured) == 12
    gains = []
    for row in read_plan("data/plan_partial_test.jsonl.gz").mixtures:
        line = measured[row.id]
        assert line["permutation"] == [1, 0]
        waves = [soundfile.read(rendered_file(run / "data/mixtures_partial_test", part, row.id))[0]
                 for part in ("mix", "s1", "s2")]  # fmt: skip
        for source, other, found in zip(waves[1:], waves[:0:-1], line["sources"], strict=True):
            before = si_sdr(waves[0], source).value
            after = si_sdr(source + 0.1 * other, source).value
            assert found["mixture"]["si_sdr"] == pytest.approx(before, abs=1e-3)
            assert found["estimate"]["si_sdr"] == pytest.approx(after, abs=1e-3)
            gains.append(after - before)
            if row.overlap < 1:
                own, wrong = np.sum(source**2), np.sum(other**2)
                for signal, part in (("mixture", 1.0), ("estimate", 0.01)):  # of the other's power; half overlaps
                    leak = 10 * np.log10(part * wrong / (own + part * wrong / 2))
                    assert found[signal]["leak"] == pytest.approx(leak, abs=0.5)

    results = score("partial_test")
    system = results["systems"][0]
    assert (results["task"], results["architecture"], results["seed"]) == ("separation", "conv_tasnet", 2)
    assert (system["name"], system["mixtures"], results["parameters"]) == ("partial", 12, 7)
    gain = system["metrics"]["si_sdri"]
    assert gain["value"] == pytest.approx(np.mean(gains), abs=1e-3)
    assert gain["low"] < gain["value"] < gain["high"]
    assert system["bootstrap"] == {"level": 0.95, "resamples": 200, "by": "speaker pair", "groups": 6}
    assert system["metrics"]["rtf"]["value"] == 2 / 16
    assert system["metrics"]["sdri"]["value"] == pytest.approx(gain["value"], abs=1.0)
    assert "pesq_wb" not in system["metrics"]  # at 8 kHz there is none
    overlap = system["buckets"]["overlap"]
    assert [(part["name"], part["mixtures"]) for part in overlap] == [("40 %", 6), ("100 %", 6)]
    assert [part["name"] for part in system["buckets"]["level"]] == ["below -5 dB", "0 to 5 dB", "5 dB and above"]
    assert "leak" not in overlap[1]["metrics"]  # noise has no pauses
    assert system["undefined"]["leak"] == {"others never speak alone": 12}

    printed = capsys.readouterr().out
    assert "partial, by overlap of the talkers" in printed
    assert f"{gain['value']:.2f}" in printed
    page = speech_tables.results_page([(run / "exp/results.json", results)])
    assert "| separated |" in page
    assert "12 mixtures, 15 s" in page
    assert "6 speaker pairs" in page


def test_a_second_run_finds_all_done_unless_something_changed(run, caplog):
    measure()
    with caplog.at_level(logging.INFO):
        measure()
    assert "up to date" in caplog.text
    with pytest.raises(ValueError, match="made differently"):
        measure("partial_test", 1, 1, "score.metrics=[si_sdr]")


def test_a_missing_output_and_one_of_another_length_are_named(run):
    file = run / "exp/estimates_partial_test/1/partial-test-000004_2.wav"
    wave, _ = soundfile.read(file)
    soundfile.write(file, wave[:-1], RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"partial-test-000004_2\.wav has 7999 samples, its mixture 8000"):
        measure()
    soundfile.write(file, np.where(np.arange(len(wave)) == 5, np.nan, wave), RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"partial-test-000004_2\.wav holds samples that are not finite"):
        measure()
    soundfile.write(file, wave, 2 * RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match="has 1 channels at 16000 Hz; the plan has one at 8000"):
        measure()
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"partial-test-000004_2\.wav is in none of"):
        measure()
    (run / "exp/estimates_partial_test/2/stats.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"estimates_partial_test/2 has no stats\.json: that job did not finish"
    ):
        measure()
    assert not (run / "exp/measures_partial_test/1").exists()


def test_measures_of_a_job_that_are_missing_stop_the_score(run):
    measure("partial_test", 1, 2)
    with pytest.raises(ValueError, match=r"of 2 jobs \[2\] left nothing"):
        score("partial_test")
    with pytest.raises(FileNotFoundError, match="measures_full_test"):
        score("full_test")


def test_silent_outputs_are_counted_and_in_no_mean(run):
    for file in (run / "exp/estimates_partial_test/1").glob("*_1.wav"):
        soundfile.write(file, np.zeros(soundfile.info(file).frames), RATE, subtype="FLOAT")
    measure()
    results = score("partial_test")
    system = results["systems"][0]
    assert system["undefined"]["si_sdr"] == {"silent output": 6}
    assert np.isfinite(system["metrics"]["si_sdri"]["value"])
    assert "silent output 6" in (run / "exp/score/summary.txt").read_text()
    text = (run / "exp/measures_partial_test/1/measures.jsonl").read_text() + (run / "exp/results.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text


def test_enhancement_by_snr(run):
    rng, rows, references = np.random.default_rng(0), [], run / "data/mixtures_noisy_test"
    (run / "exp/estimates_noisy_test").mkdir()
    for index in range(8):
        name, snr = f"noisy-test-{index:06d}", [0.0, 12.0][index % 2]
        clean = voice(index, SAMPLES)
        noise = voice(100 + index, SAMPLES) * 10 ** (-snr / 20)
        for part, wave in (("s1", clean), ("noise", noise), ("mix", clean + noise), ("target1", 0.5 * clean)):
            write(references, part, name, wave)
        source = (Source(SPEAKERS[index % 4], SPEAKERS[index % 4], 0, SAMPLES, 0, 1.0),)
        rows.append(Mixture(name, "noisy", "test", index, RATE, SAMPLES, source, Noise("n", 0, SAMPLES, 1.0, snr)))
        estimate = clean + 10 ** (-10 / 20) * noise + 1e-4 * rng.normal(size=SAMPLES)
        soundfile.write(run / f"exp/estimates_noisy_test/{name}.wav", estimate, RATE, subtype="FLOAT")
    write_plan(rows, run / "data/plan_noisy_test.jsonl.gz")
    measure("noisy_test")
    system = score("noisy_test")["systems"][0]
    assert system["metrics"]["si_sdri"]["value"] == pytest.approx(10.0, abs=0.3)
    assert system["metrics"]["stoi"]["value"] > system["metrics"]["stoi_mixture"]["value"]
    parts = {part["name"]: part["metrics"]["si_sdr_mixture"]["value"] for part in system["buckets"]["snr"]}
    assert parts == {"0 to 5 dB": pytest.approx(0, abs=0.5), "10 to 15 dB": pytest.approx(12, abs=0.5)}
    assert system["buckets"].keys() == {"snr"}
    assert "leak" not in system["metrics"]
    assert "rtf" not in system["metrics"]  # estimates without a stats.json
    assert system["bootstrap"]["by"] == "mixture"  # four speakers are too few
    assert "enhanced" in (run / "exp/score/summary.txt").read_text()


def recogniser(run, make_language):
    """An untrained one, whose texts are at least not empty, and the cuts that say what was said."""
    units = make_language(run, list(TEXTS.values()))
    small = ConformerConfig(layers=1, dim=16, heads=2, feedforward_dim=16, kernel=3, subsampling_channels=4)
    torch.manual_seed(0)
    model = ConformerCtc(small, 80, units.size)
    with torch.no_grad():
        model.output.bias[0] = -10.0  # no blanks
        model.output.weight *= 20.0
    config = config_file.to_dict(AsrConfig(task="asr", model=small))
    save_checkpoint(run / "asr.pt", {"model": model.state_dict(), "config": config})
    cuts = []
    for speaker, text in TEXTS.items():
        said = SupervisionSegment(speaker, speaker, 0, SAMPLES / RATE, text=text, speaker=speaker)
        recording = Recording(speaker, [], RATE, SAMPLES, SAMPLES / RATE)
        cuts.append(MonoCut(speaker, 0, SAMPLES / RATE, 0, recording=recording, supervisions=[said]))
    CutSet.from_cuts(cuts).to_file(run / "data/cuts_test.jsonl.gz")
    return model.eval(), units


def test_character_errors_of_mixture_outputs_and_references(run, make_language):
    model, units = recogniser(run, make_language)
    name = "partial-test-000002"
    wave, _ = soundfile.read(run / f"exp/estimates_partial_test/1/{name}_2.wav", dtype="float32")
    transcriber = Transcriber(run / "asr.pt", run / "lang")
    upsampled = resample_poly(wave, 2, 1).astype(np.float32)
    features = torch.from_numpy(make_extractor(AsrConfig(task="asr").features).extract(upsampled, 16000))[None]
    with torch.inference_mode():
        log_probs, lengths = model(features, torch.tensor([features.shape[1]]))
    expected = units.decode(greedy_search(log_probs, lengths)[0])
    assert expected
    assert transcriber(upsampled[None], 16000) == [expected]
    assert transcriber(np.zeros((2, 100)), RATE) == ["", ""]  # too short for the network

    options = ["--asr-checkpoint", "asr.pt", "--asr-lang", "lang", "--cuts", "data/cuts_test.jsonl.gz"]
    measure("partial_test", 1, 1, "score.metrics=[si_sdr]", *options)
    measured = lines(run)
    heard = transcriber(wave[None], RATE)[0]
    line = next(line for line in measured if line["id"] == name)
    assert line["sources"][0]["hypothesis"] == heard
    assert line["sources"][0]["text"] == TEXTS["A"]
    metrics = score("partial_test")["systems"][0]["metrics"]
    errors = [source["errors"] for line in measured for source in line["sources"]]
    tokens = sum(each["tokens"] for each in errors)
    assert tokens == 12 * 2 * 3
    for key, signal in (("cer", "estimate"), ("cer_mixture", "mixture"), ("cer_clean", "clean")):
        assert metrics[key]["value"] == pytest.approx(100 * sum(each[signal] for each in errors) / tokens, abs=1e-3)
    assert metrics["cp_cer"]["value"] == pytest.approx(
        100 * sum(line["cp_errors"] for line in measured) / tokens, abs=1e-3
    )
    assert metrics["cp_cer"]["value"] <= metrics["cer"]["value"]
    assert metrics["cp_cer"]["unit"] == "%"
    with pytest.raises(ValueError, match="go together"):
        measure("partial_test", 2, 2, *options[:4])
    (run / "other").mkdir()
    make_language(run / "other", ["一二三四五六七八"])
    with pytest.raises(ValueError, match="give the lang directory that the model was trained with"):
        Transcriber(run / "asr.pt", run / "other/lang")
