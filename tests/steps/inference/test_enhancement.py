"""Enhancement block by block: what the network gives for the whole, aligned with its input, file after file."""

import io
import logging
import time

import numpy as np
import pytest
import soundfile
import torch

from steps.inference.config import EnhanceConfig
from steps.inference.enhancement import Enhancement, PcmReader, crossfaded, mixed, to_pcm
from steps.inference.long_audio import check_sound
from steps.models.separators import build_separator
from steps.tasks.config import load_config
from utils import config as config_file

MODELS = {
    "streaming": "architecture: demucs, sizes: {hidden: 4, depth: 2, zeros: 8}",
    "offline": "architecture: blstm_mask, sizes: {n_fft: 64, hop: 32, hid_size: 4, num_layers: 1}",
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """By kind, an untrained model."""
    folder, found = tmp_path_factory.mktemp("models"), {}
    for kind, model in MODELS.items():
        (folder / "conf.yaml").write_text(f"task: enhancement\nmodel: {{{model}}}\n")
        config = load_config(folder / "conf.yaml")
        torch.manual_seed(0)
        weights = build_separator(config.model, 1).state_dict()
        found[kind] = folder / f"{kind}.pt"
        torch.save({"model": weights, "config": config_file.to_dict(config)}, found[kind])
    return found


@pytest.fixture
def enhancement(checkpoints):
    return lambda kind="streaming", *overrides: Enhancement(checkpoints[kind], "cpu", overrides)


def noise(samples, seed=0):
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def whole(enhancer, wave):
    with torch.no_grad():
        return enhancer.model(wave.unsqueeze(0))[0, 0]


def pcm(wave):
    return (wave * 32767).round().numpy().astype("<i2").tobytes()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("sizes", [[1], [700, 0, 1, 1299], [160]], ids=str)
def test_blocks_give_what_the_whole_gives(enhancement, kind, sizes):
    enhancer, wave = enhancement(kind), noise(sum(sizes) if len(sizes) > 1 else sizes[0])
    found = torch.cat(list(enhancer.process(wave.split(sizes))), dim=1)
    expected = whole(enhancer, wave)
    assert expected.any()
    torch.testing.assert_close(found[0], expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("dry", [0.25, 1.0])
def test_the_input_is_mixed_back_in_its_place(enhancement, dry):
    wave = noise(3000)
    enhancer = enhancement("streaming", f"enhance.dry={dry}")
    found = torch.cat(list(enhancer.process(wave.split(333))), dim=1)[0]
    torch.testing.assert_close(found, (1 - dry) * whole(enhancer, wave) + dry * wave, atol=1e-6, rtol=0)
    late = list(mixed(lambda blocks: iter([torch.zeros(0), torch.cat(list(blocks))]), wave.split(100), dry))
    torch.testing.assert_close(torch.cat(late), wave)


@pytest.mark.parametrize("kind", MODELS)
def test_a_second_file_is_as_if_it_were_the_first(enhancement, kind, tmp_path):
    sounds = []
    for number, samples in enumerate([5000, 4321]):
        file = tmp_path / f"{number}.wav"
        soundfile.write(file, noise(samples, number).numpy(), 8000)  # not the model's rate
        sounds.append(check_sound(file))
    used, fresh = enhancement(kind), enhancement(kind)
    broken_off = used.process([noise(999), noise(999)])
    next(broken_off)  # a file that ended in an error
    for sound in sounds:
        (tmp_path / "used").mkdir(exist_ok=True)
        used.run(sound, tmp_path / "used")
    (tmp_path / "fresh").mkdir()
    time.sleep(1.1)  # the time of day, which libsndfile likes to write into files, is another
    fresh.run(sounds[1], tmp_path / "fresh")
    assert (tmp_path / "used/1.wav").read_bytes() == (tmp_path / "fresh/1.wav").read_bytes()
    info = soundfile.info(tmp_path / "used/1.wav")
    assert (info.frames, info.samplerate) == (4321, 8000)
    assert used.stats()["audio_seconds"] == pytest.approx((5000 + 4321) / 8000, abs=1e-3)
    assert (used.stats()["latency_ms"] is None) == (kind == "offline")


@pytest.mark.parametrize("samples", [1, 99, 100, 101, 190, 191, 1234])
@pytest.mark.parametrize("batch", [1, 3])
def test_windows_fade_into_one_another_without_a_trace(samples, batch):
    wave, config = noise(samples), EnhanceConfig(window_seconds=1.0, overlap_seconds=0.1, batch=batch)
    found = torch.cat(list(crossfaded(wave.split(37), config, 100, lambda waves: waves)))
    torch.testing.assert_close(found, wave, atol=1e-7, rtol=0)


def test_a_border_is_a_ramp():
    config, values = EnhanceConfig(window_seconds=1.0, overlap_seconds=0.5), iter([0.0, 1.0])
    found = torch.cat(list(crossfaded([torch.ones(150)], config, 100, lambda waves: waves * next(values))))
    assert (found[:50] == 0).all()
    assert (found[100:] == 1).all()
    assert (found[50:100].diff() > 0).all()
    with pytest.raises(ValueError, match=r"enhance.overlap_seconds=0.5 is no sample at 1 Hz"):
        next(crossfaded([], config, 1, torch.clone))


@pytest.mark.parametrize("kind", MODELS)
def test_output_comes_while_input_does(enhancement, kind):
    """What waits within is bounded, however long the recording: its memory is constant."""
    enhancer = enhancement(kind, "enhance.window_seconds=0.1", "enhance.overlap_seconds=0.01")
    heard, given, most = 0, 0, 0

    def blocks():
        nonlocal heard, most
        for number in range(40):
            most = max(most, heard - given)
            heard += 800
            yield noise(800, number)

    for wave in enhancer.process(blocks()):
        given += wave.shape[1]
    assert heard == given == 32000
    assert most <= (1600 + 800 if kind == "offline" else 800)


def test_a_model_that_overflows_is_named(enhancement):
    enhancer = enhancement()
    with torch.no_grad():
        enhancer.model.decoder[-1][2].bias.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"a.wav: what the model makes of 0.00 to .* s is not finite; look at the mod"):
        list(enhancer.process([noise(500)], "a.wav"))


class Trickle(io.BytesIO):
    """A pipe that gives some bytes at a time."""

    def __init__(self, data, size):
        super().__init__(data)
        self.size = size

    def read1(self, size=-1):
        return self.read(min(size, self.size))


@pytest.mark.parametrize("size", [1, 3, 4, 999])
def test_samples_of_a_pipe_that_breaks_anywhere(size):
    values = np.array([0, 1, -1, 32767, -32768, 257], dtype="<i2")
    reader = PcmReader(Trickle(values.tobytes() + b"\x07", size))
    wave = torch.cat(list(reader.blocks()))
    torch.testing.assert_close(wave, torch.from_numpy(values / 32768).float())
    assert (reader.samples, reader.rest) == (6, b"\x07")
    assert to_pcm(wave) == values.tobytes()
    assert to_pcm(torch.tensor([1.0, 7.0, -7.0])) == np.array([32767, 32767, -32768], dtype="<i2").tobytes()


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_a_pipe_gives_as_much_as_it_takes(enhancement, rate, caplog):
    data, sink = pcm(noise(rate // 4 + 3)), io.BytesIO()
    with caplog.at_level(logging.INFO):
        enhancement("streaming", "enhance.dry=1.0").pipe(Trickle(data, 4001), sink, rate)
    assert len(sink.getvalue()) == len(data)
    assert ("resampling" in caplog.text) == (rate != 16000)
    if rate == 16000:
        assert sink.getvalue() == data  # nothing but the input was asked for
    sink = io.BytesIO()
    enhancement().pipe(Trickle(data, 4001), sink, rate)
    assert len(sink.getvalue()) == len(data)


def test_a_pipe_has_what_a_file_has(enhancement):
    wave, sink, enhancer = noise(2000), io.BytesIO(), enhancement()
    enhancer.pipe(Trickle(pcm(wave), 77), sink, 16000)
    heard = torch.from_numpy(np.frombuffer(pcm(wave), "<i2") / 32768).float()
    found = torch.from_numpy(np.frombuffer(sink.getvalue(), "<i2") / 32768).float()
    torch.testing.assert_close(found, whole(enhancer, heard), atol=1.01 / 32768, rtol=0)


def test_latency_is_said_and_kept(enhancement, caplog):
    enhancer = enhancement()
    latency = enhancer.latency_ms(16000)
    promised = 16 * sum(latency.values())
    assert promised == enhancer.streamer.latency_samples
    with caplog.at_level(logging.INFO):
        enhancer.pipe(io.BytesIO(), io.BytesIO(), 16000)
    said = f"latency: algorithmic {latency['algorithmic']:.1f} ms, buffering {latency['buffering']:.1f} ms"
    assert said in caplog.text
    assert list(enhancer.latency_ms(48000)) == ["algorithmic", "buffering", "resampling"]
    given = 0
    for number, wave in zip(range(1, 21), enhancer.process(noise(2000).split(100)), strict=False):
        given += wave.shape[1]
        assert given >= 100 * number - promised


def test_an_empty_pipe_and_half_a_sample(enhancement, caplog):
    sink, data = io.BytesIO(), pcm(noise(100))
    with caplog.at_level(logging.INFO):
        enhancement().pipe(io.BytesIO(), sink, 48000)
    assert sink.getvalue() == b""
    assert "0.00 s enhanced" in caplog.text
    with pytest.raises(ValueError, match=r"in the middle of a sample: an odd number of bytes.*sox"):
        enhancement().pipe(io.BytesIO(data + b"\x01"), sink, 16000)
    assert len(sink.getvalue()) == len(data)
    with pytest.raises(ValueError, match="the middle of a sample"):
        enhancement().pipe(io.BytesIO(b"\x01"), sink, 16000)


def test_a_network_that_needs_the_whole_recording_has_no_pipe(enhancement):
    with pytest.raises(ValueError, match=r"offline.pt is a blstm_mask that needs the whole recording: give files"):
        enhancement("offline").pipe(io.BytesIO(), io.BytesIO(), 16000)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"dry": 1.5}, "enhance.dry is a share"), ({"overlap_seconds": 6.0}, "enhance.overlap_seconds"),
     ({"batch": 0}, "enhance.batch")],
)  # fmt: skip
def test_what_cannot_be_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        EnhanceConfig(**values)
