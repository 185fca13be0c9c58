"""The runner of exported separators: without torch, and with an answer to everything that files may be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper

from steps import run_onnx
from steps.export import runner

RATE = 8000


def write_model(file: Path, kind: str = "separation", **changed: str) -> Path:
    """Separation puts out 4 relu(x) and -0.5 relu(-x); extraction 3 x times the enrolment's first of 2 values;
    enhancement x / 2."""
    node = helper.make_node
    nodes = {
        "separation": [
            node("Mul", ["wide", "signs"], ["both"]),
            node("Relu", ["both"], ["parts"]),
            node("Mul", ["parts", "four"], ["sources"]),
        ],
        "enhancement": [node("Mul", ["wide", "half"], ["sources"])],
        "target_speaker_extraction": [
            node("Gather", ["enrolment", "first"], ["one"], axis=1),
            node("Unsqueeze", ["one", "axis"], ["weight"]),
            node("Mul", ["wide", "weight"], ["weighted"]),
            node("Mul", ["weighted", "three"], ["sources"]),
        ],
    }.get(kind, [node("Identity", ["wide"], ["sources"])])
    nodes = [node("Unsqueeze", ["mixture", "axis"], ["wide"]), *nodes]
    values = {
        "four": [[[4.0], [-0.5]]],
        "signs": [[[1.0], [-1.0]]],
        "half": [0.5],
        "three": [3.0],
        "axis": [1],
        "first": [0],
    }
    used = {name for each in nodes for name in each.input}
    constants = [
        helper.make_tensor(
            name, TensorProto.INT64 if name in ("axis", "first") else TensorProto.FLOAT, np.shape(v), np.ravel(v)
        )
        for name, v in values.items()
        if name in used
    ]
    inputs = [helper.make_tensor_value_info("mixture", TensorProto.FLOAT, ["N", "T"])]
    if kind == "target_speaker_extraction":
        inputs.append(helper.make_tensor_value_info("enrolment", TensorProto.FLOAT, ["N", 2]))
    output = helper.make_tensor_value_info("sources", TensorProto.FLOAT, ["N", "S", "T"])
    graph = helper.make_graph(nodes, "g", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    count = "2" if kind == "separation" else "1"
    helper.set_model_props(model, {"model_type": kind, "sample_rate": f"{RATE}", "n_src": count, **changed})
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return file


def write_wave(file: Path, samples: int = 4001, rate: int = RATE, channels: int = 1) -> np.ndarray:
    wave = np.random.default_rng(samples).normal(0, 0.1, (samples, channels)).astype(np.float32)
    soundfile.write(file, wave, rate, subtype="FLOAT")
    return wave[:, 0]


def run(model: Path, out: Path, *arguments: object) -> dict[str, np.ndarray]:
    run_onnx.main(["--model", f"{model}", "--out", f"{out}", *map(str, arguments)])
    files = sorted(file for file in out.iterdir() if not file.name.startswith("."))
    assert all(soundfile.info(file).samplerate == RATE and soundfile.info(file).subtype == "FLOAT" for file in files)
    return {file.name: soundfile.read(file, dtype="float32")[0] for file in files}


def test_separated_talkers_add_up_to_the_mixture(tmp_path):
    """Whatever levels the graph gives them: its 4 and -0.5 are undone."""
    model = write_model(tmp_path / "model.onnx")
    waves = {name: write_wave(tmp_path / f"{name}.wav", samples) for name, samples in (("a", 4001), ("b", 1))}
    found = run(model, tmp_path / "out", tmp_path / "a.wav", tmp_path / "b.wav")
    assert sorted(found) == ["a_1.wav", "a_2.wav", "b_1.wav", "b_2.wav"]
    for name, wave in waves.items():
        np.testing.assert_allclose(found[f"{name}_1.wav"], np.maximum(wave, 0), atol=1e-5)
        np.testing.assert_allclose(found[f"{name}_2.wav"], np.minimum(wave, 0), atol=1e-4)


def test_an_enhanced_recording_keeps_the_level_of_the_model(tmp_path):
    wave = write_wave(tmp_path / "a.wav")
    found = run(write_model(tmp_path / "m.onnx", "enhancement"), tmp_path / "out", tmp_path / "a.wav")
    assert list(found) == ["a.wav"]
    np.testing.assert_array_equal(found["a.wav"], wave / 2)


def test_an_enrolled_talker_is_extracted(tmp_path):
    """The embedding is scaled to length 1, (3, 4) to (0.6, 0.8); a single output is tied to the mixture as well."""
    model = write_model(tmp_path / "m.onnx", "target_speaker_extraction")
    wave = write_wave(tmp_path / "a.wav")
    np.save(tmp_path / "voice.npy", np.array([3.0, 4.0]))
    session = runner.OnnxSeparator(model, enrolment=tmp_path / "voice.npy")
    np.testing.assert_allclose(session.inputs["enrolment"], [[0.6, 0.8]], rtol=1e-6)
    found = run(model, tmp_path / "out", "--enrolment", tmp_path / "voice.npy", tmp_path / "a.wav")
    assert list(found) == ["a_1.wav"]
    np.testing.assert_allclose(found["a_1.wav"], wave, atol=1e-5)


def test_silence_stays_silent(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(800), RATE)
    found = run(write_model(tmp_path / "m.onnx"), tmp_path / "out", tmp_path / "a.wav")
    assert [name for name, wave in found.items() if len(wave) == 800 and not wave.any()] == ["a_1.wav", "a_2.wav"]


@pytest.mark.parametrize("leak", [0.0, 0.3, 0.99, 1.0])
def test_levels_are_those_of_separate_speech(leak):
    """For a file of one window, whatever the outputs have in common; copies share the gain."""
    from torch import from_numpy

    from steps.inference import separation

    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 500)).astype(np.float32)
    mixture, outputs = first + second, np.stack([2 * first + 2 * leak * second, 0.5 * second + 0.5 * leak * first])
    expected = separation.levels(from_numpy(mixture), from_numpy(outputs)).numpy()
    np.testing.assert_allclose(runner.levels(mixture, outputs) * outputs, expected, rtol=1e-4, atol=1e-5)
    if leak == 0:
        np.testing.assert_allclose(expected, [first, second], atol=0.02)


def test_it_needs_no_torch(tmp_path, root):
    """Nor lhotse, scipy and onnx: only numpy, soundfile and onnxruntime have to be there."""
    model = write_model(tmp_path / "m.onnx")
    write_wave(tmp_path / "a.wav")
    code = """
import json, sys
for name in ("torch", "torchaudio", "lhotse", "scipy", "onnx", "omegaconf"):
    sys.modules[name] = None  # importing it raises ImportError
from steps import run_onnx
run_onnx.main(json.loads(sys.argv[1]))
"""
    arguments = ["--model", f"{model}", "--out", f"{tmp_path / 'out'}", f"{tmp_path / 'a.wav'}"]
    environment = {**os.environ, "PYTHONPATH": f"{root}"}
    command = [sys.executable, "-c", code, json.dumps(arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a_1.wav", "a_2.wav"]


def test_files_that_cannot_be_taken_are_named(tmp_path):
    separator = runner.OnnxSeparator(write_model(tmp_path / "m.onnx"))
    write_wave(tmp_path / "stereo.wav", channels=2)
    write_wave(tmp_path / "fast.wav", rate=16000)
    write_wave(tmp_path / "long.wav", 61 * RATE)
    write_wave(tmp_path / "empty.wav", 0)
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "other").mkdir()
    first, second = tmp_path / "a.wav", tmp_path / "other" / "a.flac"
    soundfile.write(first, np.zeros(9), RATE)
    soundfile.write(second, np.zeros(9), RATE)
    for files, message in (
        (["stereo.wav"], "has 2 channels; models take one: ffmpeg .* -ac 1"),
        (["fast.wav"], "has 16000 Hz, the model 8000: ffmpeg .* -ar 8000"),
        (["long.wav"], r"lasts 1.0 minutes .* --most-minutes \(now 1\).* steps.separate_speech"),
        (["empty.wav"], "has no samples"),
        (["text.wav"], "no audio that can be read"),
        ([first, second], "would be written under one name"),
    ):
        with pytest.raises(ValueError, match=message):
            runner.check(separator, [tmp_path / file for file in files], most_minutes=1.0)
    with pytest.raises(FileNotFoundError, match=r"none\.wav does not exist"):
        runner.check(separator, [tmp_path / "none.wav"], most_minutes=1.0)


def test_nothing_is_left_of_a_run_that_fails(tmp_path):
    model = write_model(tmp_path / "m.onnx")
    write_wave(tmp_path / "a.wav")
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan, 0.1]), RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"nan\.wav holds samples that are not finite"):
        run(model, tmp_path / "out", tmp_path / "a.wav", tmp_path / "nan.wav")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "voice", "message"),
    [
        ("separation", [1.0, 2.0], "a model of separation, takes no --enrolment"),
        ("target_speaker_extraction", None, "needs --enrolment"),
        ("target_speaker_extraction", [1.0, 2.0, 3.0], "has 3 values, .* takes 2"),
        ("target_speaker_extraction", [0.0, 0.0], "zero or not finite"),
        ("gtcrn", None, "model_type is 'gtcrn', expected one of separation"),
    ],
)
def test_models_and_enrolments_that_do_not_fit(tmp_path, kind, voice, message):
    model = write_model(tmp_path / "m.onnx", kind)
    if voice:
        np.save(tmp_path / "voice.npy", np.array(voice))
    with pytest.raises(ValueError, match=message):
        runner.OnnxSeparator(model, enrolment=tmp_path / "voice.npy" if voice else None)


def test_what_is_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"steps\.export_onnx writes it"):
        runner.OnnxSeparator(tmp_path / "none.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(ValueError, match=r"broken\.onnx: onnxruntime cannot load it"):
        runner.OnnxSeparator(tmp_path / "broken.onnx")
