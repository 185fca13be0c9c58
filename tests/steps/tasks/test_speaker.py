"""The task of speaker recognition in the Trainer: it learns, resumes exactly, and is judged by an EER."""

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet, Recording, SupervisionSegment

from steps.data.config import SpeakerDataConfig, WaveAugmentConfig
from steps.losses.config import SpeakerLossConfig
from steps.models.config import ExtractorConfig
from steps.tasks.config import SpeakerConfig, load_config
from steps.tasks.registry import build_task
from steps.tasks.speaker import load_speaker_model, pairwise_eer
from steps.training.checkpoint import epoch_checkpoint, load_checkpoint, save_checkpoint
from steps.training.config import AverageConfig, TrainingConfig
from steps.training.dist import World
from steps.training.trainer import Trainer

RATE, CPU = 16000, World(0, 1, torch.device("cpu"))


class Killed(Exception):
    """What ends a run in these tests."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Speakers that differ in how fast their noise comes and goes; mean subtraction leaves that."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, rates in (("train", (2, 4, 7, 11)), ("dev", (3, 8))):
        cuts = []
        for speaker, rate in enumerate(rates):
            for number in range(6):
                id = f"{split}{speaker}-{number}"
                time = np.arange(RATE) / RATE
                loud = 0.5 + 0.5 * np.sin(2 * np.pi * (rate * time + rng.random()))
                soundfile.write(folder / f"{id}.wav", 0.1 * loud * rng.normal(size=RATE), RATE)
                cut = Recording.from_file(folder / f"{id}.wav", recording_id=id).to_cut().with_id(id)
                cut.supervisions = [SupervisionSegment(id, id, 0, 1.0, speaker=f"{split}{speaker}")]
                cuts.append(cut)
        CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
    return folder


@pytest.fixture
def config(data):
    return SpeakerConfig(
        task="speaker",
        data=SpeakerDataConfig(dir=str(data), chunk_seconds=0.5, batch_size=8, num_workers=0),
        augment=WaveAugmentConfig(speeds=[1.0, 0.9]),
        model=ExtractorConfig(architecture="xvector", channels=16, embedding_dim=8),
        loss=SpeakerLossConfig(margin_start_epoch=1, margin_end_epoch=3),
        training=TrainingConfig(epochs=4, lr=5e-3, warmup_steps=2, save_every=1, log_every=1, average_period=1),
        average=AverageConfig(last_epochs=[1]),
    )


def fit(config, folder):
    Trainer(build_task(config), folder, CPU).fit()
    return load_checkpoint(epoch_checkpoint(folder / "checkpoints", config.training.epochs))


def test_it_trains_and_a_resumed_run_ends_with_the_same_weights(config, tmp_path, monkeypatch):
    whole = fit(config, tmp_path / "whole")
    assert whole["model"]["projection.weight"].shape == (4 * 2, 8)
    assert 0 <= whole["figures"]["eer"] <= 100
    assert "loss" not in whole["figures"]  # unseen speakers have no class
    original = Trainer._train_step

    def killed(self, group, meter):
        if self.step == 5:  # within the margin's rise
            raise Killed
        return original(self, group, meter)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "_train_step", killed)
        fit(config, tmp_path / "killed")
    resumed = fit(config, tmp_path / "killed")
    for name, value in whole["model"].items():
        assert torch.equal(value, resumed["model"][name]), name
    lines = (tmp_path / "killed" / "metrics.jsonl").read_text()
    assert '"margin": 0.0' in lines and '"accuracy"' in lines


def test_what_was_trained_is_loaded_to_embed(config, tmp_path):
    state = fit(config, tmp_path)
    save_checkpoint(tmp_path / "averaged.pt", {"model": state["model"], "config": state["config"]})
    model, loaded = load_speaker_model(tmp_path / "averaged.pt", torch.device("cpu"))
    assert loaded.model == config.model and not model.training
    assert model(torch.randn(1, 50, 80), torch.tensor([50])).shape == (1, 8)


def test_pairs_of_dev_are_judged_by_hand(rng_seed=1):
    rng = np.random.default_rng(rng_seed)
    vectors, speakers = rng.normal(size=(9, 5)).astype(np.float32), np.array(list("aaabbbccc"))
    centred = vectors - vectors.mean(axis=0)
    scores, same = [], []
    for i in range(9):
        for j in range(i):
            scores.append(centred[i] @ centred[j] / np.linalg.norm(centred[i]) / np.linalg.norm(centred[j]))
            same.append(speakers[i] == speakers[j])
    scores, same = np.array(scores), np.array(same)
    gaps = [(np.mean(scores[~same] >= t), np.mean(scores[same] < t)) for t in scores]
    best = min(gaps, key=lambda gap: abs(gap[0] - gap[1]))
    assert pairwise_eer(vectors, speakers) == pytest.approx(np.mean(best), abs=abs(best[0] - best[1]) / 2 + 1e-9)
    perfect = np.repeat(np.eye(3, 5, dtype=np.float32), 3, axis=0)
    assert pairwise_eer(perfect, speakers) == 0
    with pytest.raises(ValueError, match="two speakers and two utterances of one"):
        pairwise_eer(vectors, np.array(["a"] * 9))


def test_a_yaml_names_its_task(tmp_path):
    (tmp_path / "x.yaml").write_text("task: speaker\nmodel: {architecture: resnet43}\n")
    with pytest.raises(ValueError, match=r"model\.architecture: one of .*resnet34.*got 'resnet43'"):
        load_config(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_text("tsak: speaker\n")
    with pytest.raises(ValueError, match=r"x\.yaml: task is None; expected one of asr, speaker"):
        load_config(tmp_path / "x.yaml")


def test_weights_of_another_toolkit_are_taken_over_by_name(tmp_path):
    """A flat file with classes, as wespeaker writes it; with one tensor amiss it is refused by name."""
    from steps import import_extractor
    from steps.models.extractors import build_extractor

    (tmp_path / "x.yaml").write_text(
        "task: speaker\nmodel: {architecture: ecapa_tdnn, channels: 16, embedding_dim: 8}\n"
    )
    theirs = build_extractor(ExtractorConfig(architecture="ecapa_tdnn", channels=16, embedding_dim=8), 80).eval()
    state = {**theirs.state_dict(), "projection.weight": torch.zeros(30, 8)}
    torch.save(state, tmp_path / "avg_model.pt")
    arguments = ["--weights", str(tmp_path / "avg_model.pt"), "--config", str(tmp_path / "x.yaml")]
    import_extractor.main([*arguments, "--exp", str(tmp_path / "exp")])
    model, _ = load_speaker_model(tmp_path / "exp/checkpoints/averaged.pt", torch.device("cpu"))
    features = torch.randn(1, 40, 80)
    torch.testing.assert_close(model(features), theirs(features - features.mean(dim=1, keepdim=True), None))
    del state["bn.bias"]
    torch.save({"state_dict": {**state, "linear.bias": torch.zeros(9)}}, tmp_path / "avg_model.pt")
    with pytest.raises(
        ValueError, match=r"no ecapa_tdnn of .*it lacks bn\.bias; linear\.bias is \(9,\), expected \(8,\)"
    ):
        import_extractor.main([*arguments, "--exp", str(tmp_path / "other")])
    assert not (tmp_path / "other/checkpoints/averaged.pt").exists()
