"""The verb from audio to a checkpoint that embeds, and that a rerun leaves alone."""

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet, Recording, SupervisionSegment

from steps import train_ivector
from steps.data.features import make_extractor
from steps.models.ivector import IvectorExtractor
from steps.tasks.config import SpeakerConfig
from steps.training.checkpoint import load_checkpoint
from utils import config as config_file

YAML = """
task: ivector
seed: 1
data: {num_workers: 0, batch_seconds: 3.0, min_seconds: 0.3}
ivector: {num_ceps: 6, num_gauss: 4, top_k: 2, embedding_dim: 3, iterations: 2, max_utterances: 4}
"""


@pytest.fixture
def folder(tmp_path):
    """data/cuts_train.jsonl.gz with six utterances of noise, one of them too short, and a YAML."""
    cuts, generator = [], np.random.default_rng(0)
    for number, seconds in enumerate((0.8, 1.0, 0.1, 1.2, 0.9, 1.1)):
        samples = generator.normal(scale=0.1, size=round(16000 * seconds))
        samples *= 0.6 + 0.4 * np.sin(np.arange(len(samples)) / 500 / (1 + number))
        file = tmp_path / f"u{number}.wav"
        soundfile.write(file, samples, 16000)
        cut = Recording.from_file(file).to_cut()
        cut.supervisions = [SupervisionSegment(cut.id, cut.id, 0.0, cut.duration, speaker=f"s{number % 2}")]
        cuts.append(cut)
    (tmp_path / "data").mkdir()
    CutSet.from_cuts(cuts).to_file(tmp_path / "data" / "cuts_train.jsonl.gz")
    (tmp_path / "ivector.yaml").write_text(YAML)
    return tmp_path


def test_from_audio_to_embeddings(folder, caplog):
    arguments = ["--config", f"{folder}/ivector.yaml", "--exp", f"{folder}/exp", "--device", "cpu"]
    arguments += [f"data.dir={folder}/data"]
    train_ivector.main(arguments)
    log = (folder / "exp" / "train.log").read_text()
    assert "i-vectors from 4 utterances" in log
    assert "UBM, full, iteration 4/4" in log
    assert "T, iteration 2/2" in log

    file = folder / "exp" / "checkpoints" / "averaged.pt"
    state, written = load_checkpoint(file), file.stat().st_mtime_ns
    config = config_file.from_dict(SpeakerConfig, state["config"])
    model = IvectorExtractor(config.ivector, config.features.num_mel_bins).eval()
    model.load_state_dict(state["model"])
    samples, rate = soundfile.read(folder / "u1.wav", dtype="float32")
    features = torch.from_numpy(make_extractor(config.features).extract(samples, rate))
    embedding = model(features.unsqueeze(0))
    assert embedding.shape == (1, 3)
    assert embedding.isfinite().all() and embedding.norm() > 0

    train_ivector.main(arguments)
    assert file.stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="made differently: option ivector"):
        train_ivector.main([*arguments, "ivector.iterations=3"])


def test_longest_utterances_are_taken(folder):
    cuts = CutSet.from_file(folder / "data" / "cuts_train.jsonl.gz")
    assert [cut.id for cut in train_ivector.longest(cuts, 0.3, 3)] == ["u3", "u5", "u1"]
    assert len(train_ivector.longest(cuts, 0.3, 100)) == 5
    with pytest.raises(ValueError, match=r"no training utterance is 2 s long; see data\.min_seconds"):
        train_ivector.longest(cuts, 2.0, 3)
