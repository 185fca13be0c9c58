"""steps.extract_embeddings: the same embedding whoever else is in the batch or the job, also for silence and 100 ms."""

import json

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet, Recording, SupervisionSegment

from steps import extract_embeddings
from steps.backend.embeddings import Embeddings, read_embeddings
from steps.data.features import make_extractor
from steps.metrics.trials import write_enrolments
from steps.models.extractors import build_extractor
from steps.models.speaker import SpeakerModel
from steps.tasks.config import SpeakerConfig
from steps.training.checkpoint import save_checkpoint
from utils import config as config_file

RATE = 16000
SECONDS = {"a0": 1.3, "a1": 2.0, "a2": 0.1, "b0": 3.17, "b1": 0.9, "silent": 1.0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Utterances of noise, one of silence, and a small extractor with random weights."""
    folder = tmp_path_factory.mktemp("corpus")
    rng, cuts = np.random.default_rng(0), []
    for id, seconds in SECONDS.items():
        wave = 0.1 * rng.normal(size=round(seconds * RATE)) * (id != "silent")
        soundfile.write(folder / f"{id}.wav", wave, RATE)
        cut = Recording.from_file(folder / f"{id}.wav", recording_id=id).to_cut().with_id(id)
        cut.supervisions = [SupervisionSegment(id, id, 0, cut.duration, speaker=id[0])]
        cuts.append(cut)
    CutSet.from_cuts(cuts).to_file(folder / "cuts.jsonl.gz")
    (folder / "trials").mkdir()
    write_enrolments(folder / "trials/joined.txt", {"A": ["a0", "a1"], "B": ["b1"]})
    config = SpeakerConfig(task="speaker")
    config.model.architecture, config.model.channels, config.model.embedding_dim = "xvector", 32, 16
    config.score.durations, config.data.batch_seconds = [0.5, 2.0], 7.0
    torch.manual_seed(0)
    model = SpeakerModel(build_extractor(config.model, 80))
    for parameter in model.parameters():  # with torch's own, small ones the output hardly depends on the input
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    save_checkpoint(folder / "model.pt", {"model": model.state_dict(), "config": config_file.to_dict(config)})
    return folder, model.eval()


def extract(folder, out, *arguments):
    options = ["--checkpoint", str(folder / "model.pt"), "--cuts", str(folder / "cuts.jsonl.gz"), "--device", "cpu"]
    extract_embeddings.main([*options, "--out", str(out), *arguments])


def alone(folder, model, id, start=0.0, seconds=None):
    """The embedding of one utterance, by the library alone."""
    wave, _ = soundfile.read(folder / f"{id}.wav", dtype="float32", start=round(start * RATE))
    wave = wave[: None if seconds is None else round(seconds * RATE)]
    features = make_extractor(SpeakerConfig(task="speaker").features).extract(wave, RATE)
    with torch.inference_mode():
        return model(torch.from_numpy(features)[None])[0].numpy()


def test_batches_give_what_each_utterance_gets_alone(corpus, tmp_path):
    folder, model = corpus
    extract(folder, tmp_path / "1")
    found = read_embeddings(tmp_path)
    assert sorted(found.ids) == sorted(SECONDS)
    for id, vector, speaker, seconds in zip(found.ids, found.vectors, found.speakers, found.seconds, strict=True):
        assert (speaker, seconds) == (id[0], pytest.approx(SECONDS[id], abs=1e-4))
        np.testing.assert_allclose(vector, alone(folder, model, id), atol=1e-5)
    stats = json.loads((tmp_path / "1/stats.json").read_text())
    assert stats["audio_seconds"] == pytest.approx(sum(SECONDS.values()), abs=0.01)
    assert stats["rtf"]["features"] > 0 < stats["rtf"]["network"]


def test_models_and_excerpts_of_trials(corpus, tmp_path):
    folder, model = corpus
    extract(folder, tmp_path / "1", "--trials", str(folder / "trials"))
    models = read_embeddings(tmp_path, "models")
    assert sorted(models.ids) == ["A", "B"]
    np.testing.assert_allclose(models.of(["B"])[0], alone(folder, model, "b1"), atol=1e-5)
    assert models.seconds[models.rows(["A"])][0] == pytest.approx(3.3, abs=1e-3)
    short = read_embeddings(tmp_path, "utterances_2")
    np.testing.assert_allclose(short.of(["a0"])[0], alone(folder, model, "a0"), atol=1e-5)  # shorter: whole
    np.testing.assert_allclose(short.of(["a1"])[0], alone(folder, model, "a1"), atol=1e-5)
    assert np.abs(short.of(["b0"])[0] - alone(folder, model, "b0")).max() > 1e-3
    assert (tmp_path / "1/models_0.5.npz").is_file()


def test_jobs_share_the_work_and_change_nothing(corpus, tmp_path):
    folder, _ = corpus
    extract(folder, tmp_path / "whole/1")
    for job in ("1", "2"):
        extract(folder, tmp_path / "shared" / job, "--job", job, "--num-jobs", "2")
    whole, shared = read_embeddings(tmp_path / "whole"), read_embeddings(tmp_path / "shared")
    np.testing.assert_allclose(shared.of(whole.ids), whole.vectors, atol=1e-5)
    (tmp_path / "shared/2/stats.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"shared/2 is missing or not complete; steps\.extract_embeddings"):
        read_embeddings(tmp_path / "shared")


def test_a_model_of_another_task_and_a_network_that_overflows_are_named(corpus, tmp_path):
    folder, _ = corpus
    state = torch.load(folder / "model.pt", weights_only=True)
    save_checkpoint(tmp_path / "model.pt", {**state, "config": {"task": "asr"}})
    for name in ("cuts.jsonl.gz",):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ValueError, match="is a model of task 'asr'; expected one of speaker recognition"):
        extract(tmp_path, tmp_path / "out/1")
    broken = {name: value * float("nan") if "seg_1.weight" in name else value for name, value in state["model"].items()}
    save_checkpoint(tmp_path / "model.pt", {**state, "model": broken})
    with pytest.raises(ValueError, match=r"the embedding of \w+ is not finite"):
        extract(tmp_path, tmp_path / "out/1")
    assert not (tmp_path / "out/1").exists()


def test_a_file_that_holds_no_embeddings_is_named(tmp_path):
    (tmp_path / "utterances.npz").write_text("something else")
    with pytest.raises(ValueError, match=r"utterances\.npz holds no embeddings"):
        Embeddings.load(tmp_path / "utterances.npz")
    with pytest.raises(ValueError, match="utterance x has two embeddings"):
        Embeddings(["x", "x"], np.zeros((2, 3)), ["a", "a"], np.ones(2))
