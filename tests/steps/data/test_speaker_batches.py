"""Batches for speaker recognition: chunks, labels, and what decides them."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet, Recording, SupervisionSegment

from steps.data.config import SpeakerDataConfig, WaveAugmentConfig
from steps.data.features import make_extractor
from steps.data.speaker import choose_utterances, speaker_batches, speaker_labels, trainable
from steps.tasks.config import SpeakerConfig

RATE = 16000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three speakers, each a tone; utterances of 0.3 s, 0.6 s, 1.2 s and 2.4 s."""
    folder = tmp_path_factory.mktemp("corpus")
    cuts = []
    for speaker, hertz in (("c", 900), ("a", 300), ("b", 600)):
        for number, seconds in enumerate((0.3, 0.6, 1.2, 2.4)):
            id = f"{speaker}{number}"
            wave = 0.1 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)
            soundfile.write(folder / f"{id}.wav", wave, RATE)
            cut = Recording.from_file(folder / f"{id}.wav", recording_id=id).to_cut()
            cut.supervisions = [SupervisionSegment(id, id, 0, cut.duration, speaker=speaker)]
            cuts.append(cut.with_id(id))
    for split in ("train", "dev"):
        CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
    return folder


def config(folder, **options):
    data = {"chunk_seconds": 1.0, "batch_size": 4, "min_seconds": 0.5, "num_workers": 0, **options}
    return SpeakerConfig(
        task="speaker", data=SpeakerDataConfig(dir=str(folder), **data), augment=WaveAugmentConfig(prob=0.0)
    )


def pitch(features):
    """The mel bin that is loudest, of (T, F)."""
    return int(features[5:-5].mean(dim=0).argmax())


def test_chunks_have_one_length_and_the_class_of_their_speaker_at_their_speed(corpus):
    batches = list(speaker_batches(config(corpus), "train"))
    assert [len(batch["ids"]) for batch in batches] == [4, 4]
    loudest = {}
    for batch in batches:
        assert batch["features"].shape == (4, 100, 80)
        assert batch["seconds"] == 4.0
        for id, label, features in zip(batch["ids"], batch["labels"].tolist(), batch["features"], strict=True):
            assert label % 3 == "abc".index(id[0])
            loudest.setdefault(label, set()).add(pitch(features))
    assert all(len(bins) == 1 for bins in loudest.values())
    by_speed = [
        [loudest[label] for label in (speaker, speaker + 3, speaker + 6) if label in loudest] for speaker in range(3)
    ]
    assert any(len(found) > 1 and found[0] != found[1] for found in by_speed)  # another speed is another voice


def test_batches_depend_on_seed_and_epoch_alone(corpus):
    def run(seed, epoch, workers):
        batches = speaker_batches(replace(config(corpus, num_workers=workers), seed=seed), "train")
        batches.load_state_dict({"epoch": epoch, "position": 0, "seen": 0})
        return [(batch["ids"], batch["features"], batch["labels"]) for batch in batches]

    first = run(0, 0, 0)
    for again in (run(0, 0, 0), run(0, 0, 2)):
        for one, other in zip(first, again, strict=True):
            assert one[0] == other[0]
            assert torch.equal(one[1], other[1])
            assert torch.equal(one[2], other[2])
    assert [ids for ids, *_ in run(0, 1, 0)] != [ids for ids, *_ in first]
    assert [ids for ids, *_ in run(1, 0, 0)] != [ids for ids, *_ in first]


def test_dev_is_whole_utterances_as_they_are(corpus):
    settings = config(corpus, batch_seconds=3.0, dev_seconds=2.0, dev_utterances=0)
    batches = list(speaker_batches(settings, "dev"))
    assert sum(len(batch["ids"]) for batch in batches) == 12
    extractor = make_extractor(settings.features)
    for batch in batches:
        assert [id[0] for id in batch["ids"]] == batch["speakers"]
        assert int(batch["lengths"].max()) == batch["features"].shape[1] <= 200
        for id, length, features in zip(batch["ids"], batch["lengths"], batch["features"], strict=True):
            wave, _ = soundfile.read(corpus / f"{id}.wav", dtype="float32", stop=2 * RATE)
            np.testing.assert_allclose(features[:length], extractor.extract(wave, RATE), atol=1e-6)
            assert not features[length:].any()


def test_what_does_not_train_is_left_out_and_too_little_is_refused(corpus, caplog):
    cuts = list(CutSet.from_file(corpus / "cuts_train.jsonl.gz"))
    caplog.set_level("INFO")
    assert len(trainable(cuts, SpeakerDataConfig(min_seconds=0.5))) == 9
    assert (
        "training utterances: 9 of 12, of 3 speakers; left out: 3 (shorter than 0.5 s), 0 (speakers with under 1)"
        in caplog.text
    )
    assert len(trainable(cuts[1:], SpeakerDataConfig(min_seconds=0, min_utterances=4))) == 8
    with pytest.raises(ValueError, match=r"1 training speakers are left; at least 2.*data\.min_utterances 4"):
        trainable(cuts[2:6] + cuts[6:8], SpeakerDataConfig(min_seconds=0, min_utterances=4))


def test_utterances_of_a_speaker_are_chosen_by_seed_whoever_else_is_there(corpus):
    cuts = list(CutSet.from_file(corpus / "cuts_train.jsonl.gz"))
    chosen = [cut.id for cut in choose_utterances(cuts, 2, seed=5)]
    assert [id[0] for id in chosen] == list("ccaabb")
    assert [cut.id for cut in choose_utterances(cuts[:4], 2, seed=5)] == chosen[:2]
    assert [cut.id for cut in choose_utterances(cuts[::-1], 2, seed=5)] == chosen[::-1]
    assert choose_utterances(cuts, 0, seed=5) == cuts
    assert speaker_labels(cuts) == {"a": 0, "b": 1, "c": 2}


def test_a_missing_split_names_the_stage_that_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cuts_train\.jsonl\.gz does not exist: stage 2"):
        speaker_batches(config(tmp_path), "train")


def test_grouped_batches_have_as_many_of_each_class(corpus):
    settings = config(corpus, utterances_per_speaker=2, batch_size=4, min_seconds=0.2)
    for batch in speaker_batches(settings, "train"):
        labels = batch["labels"].tolist()
        assert labels[0] == labels[1] != labels[2] == labels[3]
