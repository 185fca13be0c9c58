"""Measures of separation and enhancement against closed forms, brute force, projections and published values."""

from itertools import permutations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from scipy.linalg import toeplitz

from steps.data.mixture import Mixture, Source
from steps.metrics import perceptual, separation, speech_scores
from steps.metrics.config import ScoreConfig, SpeechScoreConfig
from steps.metrics.separation import LIMIT
from steps.metrics.speech_bootstrap import mean_intervals, resampled_by
from steps.metrics.speech_measures import ErrorCounter, Meter, Signals

RATE = 16000


def tone(hertz: float, samples: int = 4000, amplitude: float = 0.3) -> np.ndarray:
    """Whole periods, where hertz divides it: tones of different pitch are orthogonal, and have no mean."""
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE)


def speech(seconds: float = 2.0, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Harmonics in syllables, with pauses."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitch = 2 * np.pi * np.cumsum(rng.uniform(100, 200) * (1 + 0.1 * np.sin(2 * np.pi * 3 * time))) / rate
    voice = sum(rng.uniform(0.2, 1) / k * np.sin(k * pitch + rng.uniform(0, 6)) for k in range(1, 15))
    return 0.1 * voice * np.clip(np.sin(2 * np.pi * 2.5 * time + rng.uniform(0, 6)), 0, None) ** 2


def test_si_sdr_closed_form_and_scale():
    reference, noise = tone(400), tone(800, amplitude=0.03)
    for scale in (1.0, -7.0, 1e-4):
        assert separation.si_sdr(scale * (reference + noise), reference).value == pytest.approx(20.0, abs=1e-6)
    assert separation.si_sdr(2 * reference, reference).value == LIMIT
    assert separation.si_sdr(noise, reference).value == pytest.approx(-LIMIT)


def test_an_offset_is_distortion_only_where_means_are_kept():
    reference, noise, offset = tone(400), tone(800, amplitude=0.03), 0.05
    estimate = reference + noise + offset
    assert separation.si_sdr(estimate, reference).value == pytest.approx(20.0, abs=1e-6)
    kept = 10 * np.log10((0.3**2 / 2) / (0.03**2 / 2 + offset**2))
    assert separation.si_sdr(estimate, reference, zero_mean=False).value == pytest.approx(kept)


@pytest.mark.parametrize("talkers", [1, 2, 3, 4])
def test_permutation_against_brute_force(talkers):
    rng = np.random.default_rng(talkers)
    for _ in range(20):
        references = rng.normal(size=(talkers, 200))
        mixing = rng.normal(size=(talkers, talkers))  # no diagonal to see: the best is not the best of each
        estimates = mixing @ references + 0.1 * rng.normal(size=(talkers, 200))

        def total(order, e=estimates, r=references):
            return sum(separation.si_sdr(e[k], reference).value for k, reference in zip(order, r, strict=True))

        best = max(permutations(range(talkers)), key=total)
        assert separation.best_permutation(estimates, references) == best


def test_permutation_with_a_silent_talker_or_output():
    first, second = speech(seed=1), speech(seed=2)
    silent = np.zeros_like(first)
    both = np.stack([first, second])
    assert separation.best_permutation(np.stack([silent, second + 0.1 * first]), both) == (0, 1)
    assert separation.best_permutation(np.stack([second, first + second]), np.stack([silent, second])) == (1, 0)


def test_leak_closed_form():
    half = RATE // 2
    first, second = np.zeros(RATE), np.zeros(RATE)
    first[:half], second[half:] = tone(400, half), tone(800, half, 0.15)
    references = np.stack([first, second])
    expected = 20 * np.log10(0.1 * 0.15 / 0.3)
    measured = separation.leak(5 * (first + 0.1 * second), references, 0, 320, -40.0)
    assert measured.value == pytest.approx(expected)
    mixture = first + second
    assert separation.leak(mixture, references, 0, 320, -40.0).value == pytest.approx(20 * np.log10(0.5))
    assert separation.leak(mixture, references, 1, 320, -40.0).value == pytest.approx(20 * np.log10(2))
    assert separation.leak(first, references, 0, 320, -40.0).value == -LIMIT
    together = np.stack([tone(400, RATE), tone(800, RATE)])
    assert separation.leak(together.sum(0), together, 0, 320, -40.0) == (None, "others never speak alone")
    assert separation.leak(second, references, 0, 320, -40.0) == (None, "silent output")
    assert separation.leak(first[:1], references[:, :1], 0, 320, -40.0).value is None


def test_sdr_is_the_projection_on_512_shifts():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=1500)
    estimate = np.convolve(reference, [0.5, 0.3, -0.2])[:1500] + 0.2 * rng.normal(size=1500)
    shifts = toeplitz(np.pad(reference, (0, 511)), np.zeros(512))  # (T + 511, 512)
    padded = np.pad(estimate, (0, 511))
    inside = shifts @ np.linalg.lstsq(shifts, padded, rcond=None)[0]
    expected = 10 * np.log10((inside @ inside) / np.sum((padded - inside) ** 2))
    assert perceptual.sdr(estimate, reference).value == pytest.approx(expected, abs=1e-6)
    assert perceptual.sdr(estimate, reference).value > separation.si_sdr(estimate, reference).value + 3
    assert perceptual.sdr(reference, reference).value == LIMIT


def measures():
    """Every measure of a pair by name, at 16 kHz."""
    found = {
        "si_sdr": separation.si_sdr,
        "sdr": perceptual.sdr,
        "stoi": lambda e, r: perceptual.stoi(e, r, RATE),
        "estoi": lambda e, r: perceptual.stoi(e, r, RATE, extended=True),
    }
    if perceptual.usable(["pesq_wb"], RATE):
        found |= {f"pesq_{mode}": lambda e, r, mode=mode: perceptual.pesq(e, r, RATE, mode) for mode in ("wb", "nb")}
    return found


@pytest.mark.parametrize(("name", "measure"), measures().items())
def test_silence_and_too_short_are_not_numbers(name, measure):
    voice = speech(0.2) + 1e-3 * np.random.default_rng(0).normal(size=3200)
    for estimate, reference, reason in (
        (voice, 0 * voice, "silent reference"),
        (voice, 0 * voice + 0.1, "silent reference"),
        (0 * voice, voice, "silent output"),
        (voice[:1], voice[:1], "silent reference"),
        (voice[:0], voice[:0], "silent reference"),
    ):
        assert measure(estimate, reference) == (None, reason)
    if name != "si_sdr":
        few = voice[:500]
        assert measure(few, few) == (None, "too short")
    if "stoi" in name:  # long enough, but for its pauses
        quiet = np.concatenate([voice, 1e-6 * np.random.default_rng(0).normal(size=RATE)])
        assert measure(quiet, quiet) == (None, "too short")


def test_published_ends_of_the_scales():
    voice = speech(2.0)
    noisy = voice + 0.02 * np.random.default_rng(0).normal(size=len(voice))
    assert perceptual.stoi(voice, voice, RATE).value == pytest.approx(1.0, abs=1e-6)
    assert perceptual.stoi(voice, voice, RATE, extended=True).value == pytest.approx(1.0, abs=1e-6)
    assert perceptual.stoi(noisy, voice, RATE).value < 0.99
    pytest.importorskip("pesq")
    assert perceptual.pesq(voice, voice, RATE, "wb").value == pytest.approx(4.644, abs=1e-3)  # P.862.2
    assert perceptual.pesq(voice, voice, RATE, "nb").value == pytest.approx(4.549, abs=1e-3)  # P.862.1
    assert perceptual.pesq(speech(rate=8000), speech(rate=8000), 8000, "nb").value == pytest.approx(4.549, abs=1e-3)
    assert perceptual.pesq(noisy, voice, RATE, "wb").value < 4
    with pytest.raises(ValueError, match="PESQ wb at 8000 Hz"):
        perceptual.pesq(voice, voice, 8000, "wb")


def test_pesq_is_left_out_where_it_cannot_be_had(monkeypatch, caplog):
    names = ["si_sdr", "pesq_wb", "pesq_nb", "stoi"]
    pytest.importorskip("pesq")
    assert perceptual.usable(names, 16000) == names
    assert perceptual.usable(names, 8000) == ["si_sdr", "pesq_nb", "stoi"]
    assert perceptual.usable(names, 48000) == ["si_sdr", "stoi"]
    monkeypatch.setattr(perceptual.importlib.util, "find_spec", lambda name: None)
    assert perceptual.usable(names, 16000) == ["si_sdr", "stoi"]
    assert caplog.text.count("pip install pesq==0.0.4") == 1


def write_dnsmos(folder):
    """A network with DNSMOS's shapes, whose outputs are 1, 2 and 3 times the mean of the window."""
    nodes = [
        helper.make_node("ReduceMean", ["input_1"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "scales"], ["Identity:0"]),
    ]
    graph = helper.make_graph(
        nodes, "dnsmos",
        [helper.make_tensor_value_info("input_1", TensorProto.FLOAT, ["N", perceptual.DNSMOS_SAMPLES])],
        [helper.make_tensor_value_info("Identity:0", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor("scales", TensorProto.FLOAT, [1, 3], [1.0, 2.0, 3.0])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / perceptual.DNSMOS_FILE)


def test_dnsmos_windows_and_scale(tmp_path):
    with pytest.raises(FileNotFoundError, match="--dnsmos-dir wants"):
        perceptual.Dnsmos(tmp_path)
    write_dnsmos(tmp_path)
    dnsmos = perceptual.Dnsmos(tmp_path)
    ramp = np.arange(12 * RATE, dtype=np.float64) / (12 * RATE)
    # 100 samples are doubled to 12.8 s, 9 s to 18 s; windows are one for each whole second above 9.01, and the first
    lengths = (100, 9 * RATE, 144160, 11 * RATE - 1, 11 * RATE)
    assert [len(perceptual.dnsmos_windows(ramp[:length])) for length in lengths] == [3, 9, 1, 1, 2]
    found = dnsmos(ramp, RATE)
    raw = np.array([ramp[start : start + 144160].mean() for start in (0, 16000, 32000)])
    for column, (name, (square, value, constant)) in enumerate(perceptual.DNSMOS_SCALES.items(), start=1):
        outputs = column * raw
        expected = np.mean(square * outputs**2 + value * outputs + constant)
        assert found[name].value == pytest.approx(expected, rel=1e-4)
    short = ramp[: 5 * RATE]  # once more makes 10 s, in which one window begins
    outputs = 3 * np.tile(short, 2)[:144160].mean()
    expected = np.polyval(perceptual.DNSMOS_SCALES["dnsmos_ovr"], outputs)
    assert dnsmos(short, RATE)["dnsmos_ovr"].value == pytest.approx(expected, rel=1e-4)
    assert dnsmos(0 * ramp, RATE)["dnsmos_sig"] == (None, "silent output")
    assert dnsmos(ramp, 8000)["dnsmos_sig"] == (None, "only at 16000 Hz")


def test_bootstrap_over_groups_against_direct_computation():
    rng = np.random.default_rng(0)
    groups = [f"pair{n}" for n in rng.integers(0, 7, size=60)]
    values, counts = rng.normal(5, 2, size=(60, 2)), np.ones((60, 2))
    counts[::3, 1] = values[::3, 1] = 0.0  # not measured
    low, high = mean_intervals(groups, values, counts, 400, seed=3)
    names = sorted(set(groups))
    draws = np.random.default_rng(3).multinomial(7, np.full(7, 1 / 7), size=400)
    for metric in range(2):
        means = []
        for draw in draws:
            rows = [row for name, times in zip(names, draw, strict=True) for _ in range(times)
                    for row in range(60) if groups[row] == name]  # fmt: skip
            means.append(values[rows, metric].sum() / counts[rows, metric].sum())
        assert (low[metric], high[metric]) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
        assert low[metric] < values[:, metric].sum() / counts[:, metric].sum() < high[metric]
    assert resampled_by(groups, "speakers") == "speakers"
    assert resampled_by(["a b", "a c"] * 30, "speakers") == "mixture"


def test_a_mean_without_any_value_has_no_interval():
    counts = np.array([[1.0, 0.0], [1.0, 0.0]])
    low, high = mean_intervals(["a", "b"], np.array([[2.0, 0.0], [4.0, 0.0]]), counts, 100, 0)
    assert (low[0], high[0]) == (2.0, 4.0)
    assert np.isnan([low[1], high[1]]).all()


def row(cut: int = 0) -> Mixture:
    sources = (Source("u1", "A", 0, RATE, 0, 1.0), Source("u2", "B", cut, RATE, 0, 1.0))
    return Mixture("m", "partial", "test", 0, RATE, RATE, sources)


def test_errors_of_texts_in_whichever_order():
    heard = {1: "一二三四", 2: "五六七", 3: "一二三", 4: "五六", 5: "一二三四", 6: "五六七八"}

    def transcribe(waves, sampling_rate):
        return [heard[round(float(wave[0]))] for wave in waves]

    texts = {"u1": ("一二三四", 1.0), "u2": ("五六七八", 1.0)}
    signals = Signals(np.full(4, 1.0), np.array([[5.0] * 4, [6.0] * 4]), np.array([[2.0] * 4, [3.0] * 4]))
    count = ErrorCounter(transcribe, ScoreConfig(), texts)
    found = count(row(), signals, (0, 1))  # the wrong order: every character is wrong
    assert found["cp_errors"] == 2
    assert [source["errors"] for source in found["sources"]] == [
        {"tokens": 4, "mixture": 0, "estimate": 4, "clean": 0},
        {"tokens": 4, "mixture": 4, "estimate": 4, "clean": 0},
    ]
    found = count(row(), signals, (1, 0))
    assert [source["errors"]["estimate"] for source in found["sources"]] == [1, 1]
    assert [source["hypothesis"] for source in found["sources"]] == ["一二三", "五六七"]
    assert count(row(cut=4000), signals, (1, 0)) is None  # part of what was said is not heard
    with pytest.raises(ValueError, match="the cuts have no utterance u2"):
        ErrorCounter(transcribe, ScoreConfig(), {"u1": ("一", 1.0)})(row(), signals, (0, 1))


def test_one_permutation_for_all_metrics_and_none_for_extraction():
    first, second = speech(seed=1), speech(seed=2)
    signals = Signals(first + second, np.stack([first, second]), np.stack([second + 0.2 * first, first]))
    config = SpeechScoreConfig(metrics=["si_sdr", "stoi", "leak"])
    meter = Meter(config, RATE)
    assert meter.permutation(signals) == (1, 0)
    lines = meter.sources(signals, (1, 0))
    assert lines[0]["estimate"]["si_sdr"] == LIMIT
    assert lines[0]["estimate"]["stoi"] == pytest.approx(1.0)
    assert lines[1]["mixture"]["si_sdr"] == pytest.approx(separation.si_sdr(first + second, second).value, abs=1e-4)
    assert lines[0]["estimate"]["leak"] < lines[0]["mixture"]["leak"]
    fixed = Meter(SpeechScoreConfig(metrics=["si_sdr"], permute=False), RATE)
    assert fixed.permutation(signals) == (0, 1)


def test_buckets_of_overlap_level_and_snr():
    config = SpeechScoreConfig(resamples=100)
    rows = [
        {
            "id": f"m{n}", "speakers": ["A", "B"], "overlap": overlap, "level_difference": level, "snr": None,
            "seconds": 1.0, "sources": [
                {"estimate": {"si_sdr": 10.0 + n}, "mixture": {"si_sdr": level}, "undefined": {}},
                {"estimate": {"si_sdr": None}, "mixture": {"si_sdr": -level},
                 "undefined": {"estimate.si_sdr": "silent output"}},
            ],
        }
        for n, (overlap, level) in enumerate([(0.19, 5.0), (0.0, -7.0), (0.21, 2.0)])
    ]  # fmt: skip
    found = speech_scores.system("partial", rows, {}, config, 0)
    assert [(part["name"], part["mixtures"]) for part in found["buckets"]["overlap"]] == [("0 %", 1), ("20 %", 2)]
    levels = {part["name"]: part["metrics"] for part in found["buckets"]["level"]}
    assert list(levels) == ["below -5 dB", "-5 to 0 dB", "0 to 5 dB", "5 dB and above"]
    assert levels["5 dB and above"]["si_sdr"]["value"] == 10.0  # of mixture 0; mixture 1's other talker was silent
    assert levels["5 dB and above"]["si_sdr_mixture"]["value"] == 6.0
    assert "si_sdr" not in levels["-5 to 0 dB"]
    assert "snr" not in found["buckets"]
    assert found["metrics"]["si_sdri"]["value"] == pytest.approx(np.mean([10 - 5, 11 + 7, 12 - 2]))
    assert found["undefined"] == {"si_sdr": {"silent output": 3}}
    assert found["bootstrap"]["by"] == "mixture"
    rows[0]["sources"][0]["estimate"]["si_sdr"] = rows[1]["sources"][0]["estimate"]["si_sdr"] = None
    rows[2]["sources"][0]["estimate"]["si_sdr"] = None
    with pytest.raises(ValueError, match="no output has an SI-SDR"):
        speech_scores.system("partial", rows, {}, config, 0)


def test_a_wrong_configuration_is_named():
    for wrong, message in (
        ({"metrics": ["stoi"]}, "score.metrics"),
        ({"metrics": ["si_sdr", "visqol"]}, "score.metrics"),
        ({"snr_edges": [5.0, 0.0]}, "score.snr_edges"),
        ({"silence": 3.0}, "score.silence"),
        ({"resample_by": "speaker"}, "score.resample_by"),
    ):
        with pytest.raises(ValueError, match=message):
            SpeechScoreConfig(**wrong)
