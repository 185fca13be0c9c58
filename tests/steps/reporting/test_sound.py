"""Sound and pictures survive the way into the page."""

import base64
import io

import numpy as np
import pytest
import soundfile
from matplotlib import image

from steps.reporting.sound import DYNAMIC_RANGE, Sound, flac_uri, palette, player, png_uri, spectrogram


def content(uri: str, kind: str) -> io.BytesIO:
    head, _, body = uri.partition(",")
    assert head == f"data:{kind};base64"
    return io.BytesIO(base64.b64decode(body, validate=True))


@pytest.mark.parametrize("rate", [8000, 16000])
def test_flac_holds_every_sample(rate):
    samples = np.random.default_rng(1).uniform(-1, 1, 12347).astype(np.float32)
    decoded, found = soundfile.read(content(flac_uri(samples, rate), "audio/flac"))
    assert found == rate and len(decoded) == len(samples)
    assert np.abs(decoded - samples).max() <= 2**-15


def test_sound_that_is_too_loud_is_clipped_and_not_wrapped():
    decoded, _ = soundfile.read(content(flac_uri(np.array([1.5, -1.5, 0.0]), 16000), "audio/flac"))
    assert decoded == pytest.approx([1.0, -1.0, 0.0], abs=2**-14)


def test_png_holds_every_pixel():
    indices = np.random.default_rng(2).integers(0, 256, (80, 123)).astype(np.uint8)
    pixels = image.imread(content(png_uri(indices), "image/png"), format="png")
    assert np.array_equal(np.rint(pixels[..., :3] * 255).astype(np.uint8), palette()[indices])


def test_palette_grows_lighter_evenly():
    lightness = palette().astype(float) @ [0.2126, 0.7152, 0.0722]
    assert palette().shape == (256, 3) and np.all(np.diff(lightness) > 0)
    assert lightness[0] < 2 and lightness[-1] > 240


def test_spectrogram_has_time_across_and_frequency_up():
    features = np.full((50, 80), -5.0)
    features[10, :20] = 3.0  # low and early
    features[40, 79] = 3.0 - DYNAMIC_RANGE / 2
    picture = spectrogram(features)
    assert picture.shape == (80, 50)
    assert np.all(picture[60:, 10] == 255) and picture[0, 40] in (127, 128)
    assert picture[0, 0] == round((-5 - (3 - DYNAMIC_RANGE)) / DYNAMIC_RANGE * 255)


def test_player_says_what_it_plays():
    sound = Sound(np.zeros(32000, dtype=np.float32), 16000, np.zeros((200, 80), dtype=np.float32))
    made = player(sound, 'utt"1')
    assert 'alt="Mel spectrogram of utt&quot;1, 2.0 seconds"' in made
    assert 'aria-label="Play utt&quot;1"' in made
    assert "0 s" in made and "1 s" in made and "2 s" not in made
