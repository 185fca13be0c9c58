"""Windows of a long mixture are joined without a swap, at the mixture's level, to the sample, in constant memory.

The network here tells two talkers apart by their bands; it gives them in another order, and at other levels, each time.
"""

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from steps.inference import separation
from steps.inference.config import SeparateConfig
from steps.inference.long_audio import check_sound
from steps.inference.separation import Joiner, enrolment_embedding, levels, windows

RATE = 8000
BANDS = ((200, 1400), (1600, 3800))  # Hz
CONFIG = SeparateConfig(window_seconds=4.0, overlap_seconds=1.0)


def band(x, low, high):
    """(..., T) with nothing outside of the band."""
    spectrum = torch.fft.rfft(x)
    hertz = torch.fft.rfftfreq(x.shape[-1], 1 / RATE)
    return torch.fft.irfft(spectrum * ((hertz >= low) & (hertz < high)), n=x.shape[-1])


def conversation(turns, seed=0, levels=(0.1, 0.1)):
    """Sources (2, T) of turns such as "a 3": who speaks ("ab": both, "-": nobody) and for how many seconds.

    Speech is noise of a talker's band in syllables.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for turn in turns:
        who, seconds = turn.split()
        length = round(float(seconds) * RATE)
        syllables = 0.2 + torch.rand(2, length // 1600 + 1, generator=generator).repeat_interleave(1600, dim=1)
        noise = torch.randn(2, length, generator=generator) * syllables[:, :length]
        parts.append(noise * torch.tensor([["a" in who], ["b" in who]]))
    noise = torch.cat(parts, dim=1)
    return torch.stack([band(x, *limits) * level for x, limits, level in zip(noise, BANDS, levels, strict=True)])


class Oracle:
    """Mixtures (N, T) -> (N, 2, T), each in a random order, at random levels and signs, with some of the other."""

    def __init__(self, seed=0, leak=0.05, scales=(0.1, 10.0)):
        self.generator, self.leak, self.scales = np.random.default_rng(seed), leak, np.log(scales)

    def __call__(self, mixtures):
        clean = torch.stack([band(mixtures, *limits) for limits in BANDS], dim=1)
        outputs = clean + self.leak * clean.flip(1)
        order = np.array([self.generator.permutation(2) for _ in mixtures])
        scale = np.exp(self.generator.uniform(*self.scales, size=(len(mixtures), 2, 1)))
        scale = scale * self.generator.choice([-1, 1], size=scale.shape)
        outputs = outputs[torch.arange(len(mixtures)).unsqueeze(1), torch.from_numpy(order)]
        return outputs * torch.from_numpy(scale).float()


def joined(mixture, estimate, config=CONFIG, block=3000):
    joiner = Joiner(config, RATE, estimate)
    return torch.cat(list(joiner.run(mixture.split(block))), dim=1), joiner


def owners(streams, sources):
    """For each second in which somebody speaks, 0 if the first stream is of the talker who speaks more, else 1; and
    the talker."""
    seconds = streams.shape[1] // RATE
    cut = [x[:, : seconds * RATE].reshape(2, seconds, RATE).transpose(0, 1) for x in (streams, sources)]
    found = []
    for y, s in zip(*cut, strict=True):
        energy = s.square().mean(dim=1)
        if energy.max() > 1e-5:
            talker = int(energy.argmax())
            found.append((int((y @ s[talker]).square().argmax()), talker))
    return found


TURNS = {
    "both": ["ab 60"],
    "turns": ["a 3", "b 3", "a 2", "ab 4", "b 7", "a 9", "ab 2"] * 2,
    "long single talkers": ["ab 4", "a 30", "b 30", "ab 5", "b 30", "a 30"],
    "silence at borders": ["a 2.6", "- 2", "b 1", "- 2.1", "b 1", "- 1.9", "a 2", "- 1.3", "a 0.5", "- 4", "b 3"] * 3,
    "long silences": ["ab 5", "- 20", "b 6", "- 20", "a 6", "- 25", "ab 5", "- 20", "b 5"],
    "one is heard late": ["a 25", "- 10", "b 10", "- 10", "a 10", "ab 5"],
}


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize(("leak", "scales"), [(0.0, (0.1, 10.0)), (0.1, (0.5, 2.0))])
@pytest.mark.parametrize("seed", [9, 10])
def test_no_talker_changes_streams(turns, leak, scales, seed):
    sources = conversation(TURNS[turns], seed, levels=(0.1, 0.04))
    noise = 1e-4 * torch.randn(sources.shape[1], generator=torch.Generator().manual_seed(seed))
    streams, _ = joined(sources.sum(0) + noise, Oracle(seed, leak, scales))
    found = owners(streams, sources)
    assert len(found) > 10
    assert len({stream ^ talker for stream, talker in found}) == 1, found


def test_the_test_provokes_swaps(monkeypatch):
    sources = conversation(TURNS["long silences"])
    monkeypatch.setattr(separation, "VOICE_WEIGHT", 0.0)  # by overlaps alone
    by_overlap, _ = joined(sources.sum(0), Oracle(1))
    monkeypatch.setattr(separation.Voices, "order", lambda *_: [0, 1])  # as the network gives them
    as_given, _ = joined(sources.sum(0), Oracle(1))
    for streams in (by_overlap, as_given):
        assert {stream ^ talker for stream, talker in owners(streams, sources)} == {0, 1}


@pytest.mark.parametrize("turns", TURNS)
def test_streams_have_the_level_of_their_talkers(turns):
    """Without a leak they are the sources; with one they still add up to the mixture, silences included."""
    sources = conversation(TURNS[turns], levels=(0.1, 0.04))
    mixture = sources.sum(0)
    streams, _ = joined(mixture, Oracle(leak=0.0))
    if owners(streams, sources)[0] not in ((0, 0), (1, 1)):
        streams = streams.flip(0)
    assert snr(sources, streams) > 25  # what is missing is what the network loses at the ends of its windows
    streams, _ = joined(mixture, Oracle(leak=0.05))
    assert snr(mixture, streams.sum(0)) > 25


def snr(wanted, found):
    return float(10 * torch.log10(wanted.square().sum() / (wanted - found).square().sum()))


@pytest.mark.parametrize("length", [1, 2, 7999, 8000, 8001, 31999, 32000, 32001, 40000, 56000, 56001, 79999])
@pytest.mark.parametrize("batch", [1, 3])
def test_every_sample_comes_out_once(length, batch):
    """A network that changes nothing gives the mixture, whatever its length and that of the blocks."""
    mixture = torch.randn(length, generator=torch.Generator().manual_seed(length))
    config = SeparateConfig(window_seconds=4.0, overlap_seconds=1.0, batch=batch)
    lengths = []

    def parts(mixtures):
        lengths.append(tuple(mixtures.shape))
        kept = (torch.arange(mixtures.shape[1]) % 2).float()  # two halves, unlike each other
        return torch.stack([mixtures * kept, mixtures * (1 - kept)], dim=1)

    for block in (977, 100_000):
        streams, _ = joined(mixture, parts, config, block)
        assert streams.shape == (2, length)
        torch.testing.assert_close(streams.sum(0), mixture, atol=1e-4, rtol=0)
    assert all(shape[1] == min(length, 32000) and shape[0] <= batch for shape in lengths)


def test_windows_cover_the_samples_and_share_the_overlap():
    samples = torch.arange(100.0)
    for length in range(1, 100):
        found = list(windows(samples[:length].split(7), 10, 3))
        starts = [start for start, _ in found]
        assert all(torch.equal(window, samples[start : start + len(window)]) for start, window in found)
        assert starts[0] == 0 and starts[-1] + len(found[-1][1]) == length
        assert starts[:-1] == list(range(0, 7 * (len(starts) - 1), 7))
        assert [len(window) for _, window in found] == [min(length, 10)] * len(found)
        assert all(0 < b - a <= 7 for a, b in itertools.pairwise(starts))


def test_batches_of_windows_change_nothing():
    sources = conversation(TURNS["turns"])
    found = [
        joined(sources.sum(0), Oracle(scales=(1, 1)), SeparateConfig(4.0, 1.0, batch))[0].abs().sum(1).sort()[0]
        for batch in (1, 4)
    ]
    torch.testing.assert_close(*found, rtol=1e-3, atol=0)


def test_levels_are_those_of_least_squares():
    generator = torch.Generator().manual_seed(0)
    sources = torch.randn(3, 4000, generator=generator) * torch.tensor([[1.0], [0.3], [0.01]])
    outputs = sources * torch.tensor([[-20.0], [0.03], [5.0]])
    torch.testing.assert_close(levels(sources.sum(0), outputs), sources, rtol=1e-3, atol=1e-3)
    silent = torch.zeros(2, 10)
    assert torch.equal(levels(silent[0], silent), silent)
    assert torch.equal(levels(torch.ones(10), silent), silent)


def test_a_leak_stays_one_beside_a_single_talker():
    """Any two gains with a + leak b = 1 fit the mixture: the ratio of the outputs decides, or what was before."""
    generator = torch.Generator().manual_seed(0)
    voice = torch.randn(32000, generator=generator)
    outputs = torch.stack([voice, 0.1 * voice])
    first = levels(voice, outputs)
    torch.testing.assert_close(first[0], voice / 1.01, rtol=0.03, atol=0)
    assert first[1].norm() < 0.02 * voice.norm()
    outputs = torch.stack([0.5 * voice, 0.5 * voice])  # as loud as the other: nothing in the window tells
    before = torch.stack([voice, 0.01 * voice])[:, :8000]
    after = levels(voice, levels(voice, outputs), before)
    assert after[0].norm() > 10 * after[1].norm()
    torch.testing.assert_close(after.sum(0), voice, rtol=0.03, atol=0)


def test_one_gain_for_a_single_stream():
    """The talker who is asked for is silent in the second half, where the network leaves a leak of the other."""
    sources = conversation(["ab 10", "b 10"])
    mixture = sources.sum(0)
    alone = [0.2 * (sources[0] + 0.02 * sources[1])]
    starts = iter([start for start, _ in windows([mixture], 32000, 8000)])

    def estimate(mixtures):
        start = next(starts)
        return torch.stack(alone)[None, :, start : start + mixtures.shape[1]]

    streams, joiner = joined(mixture, estimate)
    torch.testing.assert_close(streams[0], alone[0], atol=1e-6, rtol=0)  # as they are, before the gain
    wanted = float(alone[0] @ mixture / alone[0].square().sum())
    assert joiner.gain() == pytest.approx(wanted, rel=1e-4)
    assert snr(sources[0], streams[0] * joiner.gain()) > 20  # the leak counts for 0.7 dB
    assert Joiner(CONFIG, RATE, None).gain() == 1.0


def test_three_talkers_keep_their_streams():
    generator = torch.Generator().manual_seed(0)
    limits = ((100, 1000), (1200, 2200), (2400, 3800))
    noise = torch.randn(3, 40 * RATE, generator=generator)
    noise[0, 8 * RATE : 30 * RATE] = 0
    sources = torch.stack([band(x, *one) for x, one in zip(noise, limits, strict=True)])

    def estimate(mixtures):
        order = torch.randperm(3, generator=generator)
        return torch.stack([band(mixtures, *one) for one in limits], dim=1)[:, order]

    streams, _ = joined(sources.sum(0), estimate)
    match = (streams @ sources.T).abs()
    assert sorted(match.argmax(dim=1).tolist()) == [0, 1, 2]
    assert (match.sort(dim=1)[0][:, 1] < 0.02 * match.max(dim=1)[0]).all()


def test_outputs_that_are_not_finite_are_named():
    def estimate(mixtures):
        return mixtures.unsqueeze(1).expand(-1, 2, -1) / (mixtures.abs().max() > 0)

    mixture = torch.ones(80000)
    mixture[24000:56000] = 0
    with pytest.raises(ValueError, match=r"the mixture: what the model makes of 3.00 to 7.00 s is not finite"):
        joined(mixture, estimate)


def test_windows_that_cannot_be_joined_are_refused():
    for values in ({"overlap_seconds": 6.0}, {"overlap_seconds": 0.0}, {"batch": 0}):
        with pytest.raises(ValueError, match=f"separate.{next(iter(values))} must be"):
            SeparateConfig(**values)
    with pytest.raises(ValueError, match="is no sample at 8000 Hz"):
        Joiner(SeparateConfig(1.0, 1e-6), RATE, None)


def test_an_enrolment_is_embedded_as_the_speaker_recipe_does(tmp_path, monkeypatch):
    from steps.data.features import make_extractor
    from steps.models.extractors import build_extractor
    from steps.models.speaker import SpeakerModel
    from steps.tasks.config import SpeakerConfig

    config = SpeakerConfig(task="speaker")
    config.model.architecture, config.model.channels, config.model.embedding_dim = "xvector", 16, 8
    torch.manual_seed(0)
    model = SpeakerModel(build_extractor(config.model, 80)).eval()
    monkeypatch.setattr("steps.tasks.speaker.load_speaker_model", lambda path, device: (model, config))
    speech = torch.randn(2, 48000, generator=torch.Generator().manual_seed(0))[0] * 0.1
    soundfile.write(tmp_path / "x.wav", speech.numpy(), 16000, subtype="FLOAT")
    found = enrolment_embedding(tmp_path / "x.wav", tmp_path / "model.pt", torch.device("cpu"))
    with torch.inference_mode():
        features = make_extractor(config.features).extract(speech, 16000)
        wanted = model(features.unsqueeze(0), torch.tensor([len(features)]))
    torch.testing.assert_close(found, wanted / wanted.norm(), atol=1e-4, rtol=0)
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    with pytest.raises(ValueError, match=r"silent\.wav: no speech"):
        enrolment_embedding(tmp_path / "silent.wav", tmp_path / "model.pt", torch.device("cpu"))


MEMORY = """
import json, resource, sys
from pathlib import Path
from steps.inference.config import SeparateConfig
from steps.inference.long_audio import check_sound, convert
from steps.inference.separation import Joiner
import torch

def halves(mixtures):
    return torch.stack([mixtures * 0.3, mixtures.roll(1, -1) * 0.7], dim=1)

used = []
for name in sys.argv[2:]:
    joiner = Joiner(SeparateConfig(), 8000, halves)
    convert(check_sound(Path(name)), 8000, joiner.run, lambda n: Path(f"{name}.{n}"), sys.argv[1], joiner.gain)
    used.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(json.dumps(used))
"""


def test_twenty_minutes_take_the_memory_of_one(tmp_path, root):
    """Two float32 streams of 20 minutes at 8 kHz are 77 MB."""
    rng = np.random.default_rng(0)
    for name, minutes in (("short", 1), ("long", 20)):
        with soundfile.SoundFile(tmp_path / f"{name}.wav", "w", 8000, 1) as file:
            for _ in range(minutes):
                file.write(rng.uniform(-0.5, 0.5, 8000 * 60))
    files = [str(tmp_path / f"{name}.wav") for name in ("short", "long")]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEMORY, "PCM_16", *files]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    short, long = json.loads(done.stdout)  # MB at most
    assert long < short + 20, (short, long)
    assert check_sound(tmp_path / "long.wav.2").samples == 20 * 60 * 8000
