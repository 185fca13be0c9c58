"""Files in blocks: resampled as the whole would be, written to the sample, or refused with the way out."""

import math

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.functional import resample

from steps.inference import long_audio, wav
from steps.inference.long_audio import BlockResampler, check_sound, convert, find_sounds, read_blocks, resampled


def pieces(x, rng, longest):
    """(..., T) cut at random."""
    cuts = np.cumsum(rng.integers(1, longest, size=x.shape[-1]))
    return x.tensor_split([int(cut) for cut in cuts if cut < x.shape[-1]], dim=-1)


@pytest.mark.parametrize(("rate", "new"), [(44100, 8000), (8000, 44100), (16000, 8000), (8000, 16000), (11025, 16000)])
@pytest.mark.parametrize(("length", "longest"), [(1, 2), (500, 3), (30011, 7000)])
def test_blocks_are_resampled_as_the_whole(rate, new, length, longest):
    rng = np.random.default_rng(length)
    x = torch.from_numpy(rng.normal(size=(2, length)).astype(np.float32))
    whole = resample(x.double(), rate, new, long_audio.ZEROS, long_audio.ROLLOFF, "sinc_interp_kaiser").float()
    resampler = BlockResampler(rate, new)
    for _ in range(2):  # after flush it is as new
        made = torch.cat([*(resampler(block) for block in pieces(x, rng, longest)), resampler.flush()], dim=-1)
        assert made.shape == whole.shape == (2, -(-length * new // rate))
        torch.testing.assert_close(made, whole, atol=1e-5, rtol=0)


def test_what_is_held_back_is_said():
    resampler, given = BlockResampler(48000, 16000), 0
    for heard in range(1, 2001):
        given += len(resampler(torch.zeros(1)))
        assert heard - resampler.latency <= 3 * given <= heard


def test_rates_without_a_common_divisor_are_refused():
    with pytest.raises(ValueError, match=r"44101 Hz cannot be resampled to 8000 Hz .*sox in.wav -r 8000"):
        BlockResampler(44101, 8000)


@pytest.mark.parametrize(("rate", "there"), [(44100, 8000), (16000, 8000), (8000, 16000), (48000, 16000)])
@pytest.mark.parametrize("samples", [1, 7, 44099, 70001])
def test_there_and_back_a_tone_is_the_same_and_as_long(tmp_path, rate, there, samples):
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(samples) / rate)
    soundfile.write(tmp_path / "x.wav", tone, rate, subtype="FLOAT")
    counted = []

    def process(blocks):
        for block in blocks:
            counted.append(len(block))
            yield torch.stack([block, -block])

    assert convert(check_sound(tmp_path / "x.wav"), there, process, lambda n: tmp_path / f"{n}.wav") == 0
    assert sum(counted) == math.ceil(samples * there / rate)
    made = [soundfile.read(tmp_path / f"{n}.wav") for n in (1, 2)]
    assert [(len(x), r) for x, r in made] == [(samples, rate)] * 2
    np.testing.assert_array_equal(made[0][0], -made[1][0])
    inside = slice(rate // 20, -rate // 20)  # a tone that starts and ends at once has no band limit there
    np.testing.assert_allclose(made[0][0][inside], tone[inside], atol=1e-4)


def two(blocks):
    for block in blocks:
        yield torch.stack([block, 0.5 * block])


@pytest.mark.parametrize("subtype", long_audio.SUBTYPES)
def test_nothing_clips_and_what_is_turned_down_is_said(tmp_path, subtype, caplog):
    x = np.random.default_rng(0).uniform(-1, 1, 100_000).astype(np.float32)
    x[777] = 1
    soundfile.write(tmp_path / "x.wav", x, 8000, subtype="FLOAT")
    with caplog.at_level("INFO"):
        turned = convert(
            check_sound(tmp_path / "x.wav"), 8000, two, lambda n: tmp_path / f"{n}.wav", subtype, gain=lambda: 4.0
        )
    factor = 4.0 if subtype == "FLOAT" else 1.0
    assert turned == pytest.approx(20 * math.log10(factor / 4), abs=1e-3)
    assert ("turned down by 12.0 dB" in caplog.text) == (subtype != "FLOAT")
    step = {"FLOAT": 1e-6, "PCM_16": 2**-15, "PCM_24": 2**-23}[subtype]
    for number, share in ((1, 1.0), (2, 0.5)):
        assert soundfile.info(tmp_path / f"{number}.wav").subtype == subtype
        made, _ = soundfile.read(tmp_path / f"{number}.wav")
        np.testing.assert_allclose(made, factor * share * x, atol=2 * step)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["1.wav", "2.wav", "x.wav"]


def test_pcm_that_fits_keeps_its_level(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.full(1000, 0.5), 8000)
    assert convert(check_sound(tmp_path / "x.wav"), 8000, two, lambda n: tmp_path / f"{n}.wav", "PCM_16") == 0
    assert set(soundfile.read(tmp_path / "2.wav")[0]) == {0.25}


def test_a_failure_leaves_no_file(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros(long_audio.BLOCK * 3), 8000)

    def fails(blocks):
        yield next(blocks).expand(2, -1)
        raise ValueError("later")

    with pytest.raises(ValueError, match="later"):
        convert(check_sound(tmp_path / "x.wav"), 8000, fails, lambda n: tmp_path / f"{n}.wav")
    assert [file.name for file in tmp_path.iterdir()] == ["x.wav"]


def test_what_is_too_long_for_wav_is_rf64(tmp_path, monkeypatch):
    monkeypatch.setattr(wav, "RIFF_BYTES", 1 << 18)
    x = np.random.default_rng(0).uniform(-1, 1, 70_000).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", x, 8000, subtype="FLOAT")
    convert(check_sound(tmp_path / "x.wav"), 8000, two, lambda n: tmp_path / f"{n}.wav")
    assert soundfile.info(tmp_path / "1.wav").format == "RF64"
    np.testing.assert_array_equal(soundfile.read(tmp_path / "1.wav", dtype="float32")[0], x)


def test_files_that_cannot_be_used_are_refused_with_the_way_out(tmp_path):
    x = np.zeros((70_000, 2), np.float32)
    soundfile.write(tmp_path / "stereo.wav", x, 8000)
    for name, value in (("nan", np.nan), ("infinite", -np.inf)):
        mono = x[:, 0].copy()
        mono[68_000] = value
        soundfile.write(tmp_path / f"{name}.wav", mono, 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "header.wav", x[:0, 0], 8000)
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("not audio")
    (tmp_path / "samples.raw").write_bytes(bytes(1000))
    expected = {
        "stereo.wav": r"2 channels, expected one.*sox in.wav out.wav remix 1.*ffmpeg -i in.wav -ac 1",
        "nan.wav": r"sample at 8.500 s is not a finite number; write the file again",
        "infinite.wav": r"sample at 8.500 s is not a finite number",
        "header.wav": "no samples, only a header; leave it out",
        "empty.wav": "no audio that can be read .*convert it: `ffmpeg",
        "text.wav": "no audio that can be read",
        "samples.raw": "no audio that can be read",
    }
    for name, message in expected.items():
        with pytest.raises(ValueError, match=message) as error:
            check_sound(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name))
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        check_sound(tmp_path / "none.wav")


def test_a_file_that_shrinks_is_noticed(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros(5000), 8000)
    sound = check_sound(tmp_path / "x.wav")
    assert sound.seconds == 0.625
    soundfile.write(tmp_path / "x.wav", np.zeros(4000), 8000)
    with pytest.raises(ValueError, match="lost 1000 samples"):
        list(read_blocks(sound))


def test_directories_are_searched_and_names_are_told_apart(tmp_path):
    for name in ("b/deep/a.FLAC", "b/c.wav", "b/notes.txt", "b/.hidden/x.wav", "b/.y.wav", "z/b.mp3"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = find_sounds([tmp_path / "b", tmp_path / "z/b.mp3"])
    assert [str(file.relative_to(tmp_path)) for file in found] == ["b/deep/a.FLAC", "z/b.mp3", "b/c.wav"]
    (tmp_path / "z/c.flac").write_bytes(b"")
    with pytest.raises(ValueError, match=r"c\.flac and .*c\.wav are both called c.*rename one"):
        find_sounds([tmp_path])
    with pytest.raises(FileNotFoundError, match=r"none: there is no such file or directory"):
        find_sounds([tmp_path / "none"])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="nothing: no audio in this directory"):
        find_sounds([tmp_path / "nothing"])


def test_equal_rates_pass_through():
    blocks = [torch.ones(3), torch.zeros(2)]
    assert [block is given for block, given in zip(resampled(blocks, 8000, 8000), blocks, strict=True)] == [True] * 2
