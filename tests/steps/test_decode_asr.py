"""steps.decode_asr from cuts and a checkpoint to files, with a small untrained network."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from lhotse import CutSet, Features, LilcomChunkyWriter, MonoCut, SupervisionSegment

from steps import decode_asr
from steps.decoding.posteriors import Batch, PosteriorFile, Utterance
from steps.decoding.searches import Searches, choose_methods
from steps.graph.units import Units
from steps.models.config import ConformerConfig
from steps.models.conformer import ConformerCtc
from steps.tasks.config import AsrConfig
from steps.training.checkpoint import save_checkpoint
from utils import config as config_file

SENTENCES = ["打开灯", "关上灯", "打开门", "关上窗", "打开窗"]
SYSTEMS = ("ctc_greedy", "ctc_prefix_beam", "graph_1best")
SMALL = ConformerConfig(layers=1, dim=16, heads=2, feedforward_dim=16, kernel=3, subsampling_channels=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, make_language) -> Path:
    """A directory with lang, graph, checkpoint and 7 cuts of 0.6 to 1.8 s."""
    folder = tmp_path_factory.mktemp("run with space")
    units = make_language(folder, SENTENCES)
    config = AsrConfig(task="asr", model=SMALL)
    state = {"config": config_file.to_dict(config), "model": ConformerCtc(SMALL, 80, units.size).state_dict()}
    save_checkpoint(folder / "model.pt", state)
    write_cuts(folder)
    return folder


def write_cuts(folder: Path) -> None:
    generator = np.random.default_rng(0)
    cuts = []
    with LilcomChunkyWriter(folder / "fbank") as writer:
        for n in range(7):
            name, num_frames = f"语音{n}", 60 + 20 * n
            values = generator.normal(size=(num_frames, 80)).astype(np.float32)
            seconds = num_frames / 100
            features = Features(
                type="fbank", num_frames=num_frames, num_features=80, frame_shift=0.01, sampling_rate=16000,
                start=0, duration=seconds, storage_type=writer.name, storage_path=str(writer.storage_path),
                storage_key=writer.write(name, values), recording_id=name, channels=0,
            )  # fmt: skip
            text, speaker = SENTENCES[n % len(SENTENCES)], f"S{n % 2}"
            supervision = SupervisionSegment(name, name, 0, seconds, text=text, speaker=speaker)
            cuts.append(MonoCut(name, 0, seconds, 0, features=features, supervisions=[supervision]))
    CutSet.from_cuts(cuts).to_file(folder / "cuts_test.jsonl.gz")


def decode(run: Path, out: str, *more: str) -> Path:
    arguments = ["--lang", "lang", "--graph", "graph/HLG.fst", "--out", out, "--save-posteriors", "posteriors.npz"]
    paths = [str(run / word) if place % 2 else word for place, word in enumerate(arguments)]
    source = (
        []
        if "--posteriors" in more
        else ["--checkpoint", f"{run / 'model.pt'}", "--cuts", f"{run / 'cuts_test.jsonl.gz'}"]
    )
    decode_asr.main([*source, *paths, "--engine", "openfst", "--device", "cpu", *more])
    return run / out


def lines(folder: Path, name: str) -> list[str]:
    return (folder / name).read_text(encoding="utf-8").splitlines()


def test_files_and_what_they_hold(run: Path) -> None:
    out = decode(run, "whole")
    ids = [f"语音{n}" for n in range(7)]
    assert lines(out, "ref.txt") == [f"语音{n} {SENTENCES[n % 5]}" for n in range(7)]
    assert lines(out, "utt2spk") == [f"语音{n} S{n % 2}" for n in range(7)]
    for system in SYSTEMS:
        assert [line.split(" ")[0] for line in lines(out, f"hyp_{system}.txt")] == ids
    lists = [json.loads(line) for line in lines(out, "nbest.jsonl")]
    assert [row["id"] for row in lists] == ids
    best = {row["id"]: row["hyps"][0]["text"] for row in lists}
    assert [f"{key} {text}".rstrip() for key, text in best.items()] == lines(out, "hyp_graph_1best.txt")
    assert set(lists[0]["hyps"][0]) == {"text", "acoustic", "graph", "words"}

    stats = json.loads((out / "stats.json").read_text())
    assert stats["utterances"] == 7
    assert stats["audio_seconds"] == pytest.approx(sum(0.6 + 0.2 * n for n in range(7)))
    assert set(stats["seconds"]) == {"features", "network", *SYSTEMS, "graph_nbest"}
    assert stats["engine"] == "openfst"
    assert stats["parameters"] == sum(
        p.numel() for p in ConformerCtc(SMALL, 80, Units.load(run / "lang").size).parameters()
    )
    assert stats["peak_memory"]["host"] > 50e6
    assert stats["decode"]["search_beam"] == 16.0


def test_jobs_and_batches_change_nothing(run: Path) -> None:
    whole = decode(run, "reference")
    overrides = ["decode.batch_seconds=1.5", "decode.methods=[ctc_greedy,graph_1best]"]
    parts = [decode(run, f"parts{job}", "--job", str(job), "--num-jobs", "3", *overrides) for job in (1, 2, 3)]
    for name in ("ref.txt", "hyp_ctc_greedy.txt", "hyp_graph_1best.txt"):
        assert sorted(line for part in parts for line in lines(part, name)) == lines(whole, name)
    assert not (parts[0] / "nbest.jsonl").exists()
    assert not (parts[0] / "hyp_ctc_prefix_beam.txt").exists()


def test_stored_posteriors_give_the_same_hypotheses(run: Path) -> None:
    direct = decode(run, "direct")
    posteriors = run / "posteriors.npz"
    assert PosteriorFile(posteriors).facts["config"]["decode"]["nbest"] == 50
    copy = posteriors.rename(run / "copy.npz")
    stored = decode(run, "stored", "--posteriors", str(copy))
    for name in ("ref.txt", "utt2spk", "nbest.jsonl", *(f"hyp_{system}.txt" for system in SYSTEMS)):
        assert lines(stored, name) == lines(direct, name)


def test_what_is_up_to_date_is_left_alone(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = decode(run, "again", "decode.methods=[ctc_greedy]")
    before = (out / "stats.json").read_text()
    with caplog.at_level(logging.INFO):
        decode(run, "again", "decode.methods=[ctc_greedy]")
    assert "up to date" in caplog.text
    assert (out / "stats.json").read_text() == before
    with pytest.raises(ValueError, match="made differently: option overrides"):
        decode(run, "again", "decode.methods=[graph_1best]")


def test_mistakes_are_named(run: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown key 'decode\.nbests'; did you mean 'decode\.nbest'"):
        decode(run, "mistake", "decode.nbests=3")
    with pytest.raises(ValueError, match="--device warp"):
        decode(run, "mistake", "--device", "warp")
    others = ["--lang", f"{run / 'lang'}", "--out", f"{run / 'mistake'}", "--engine", "openfst"]
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        decode_asr.main(["--checkpoint", f"{run / 'none.pt'}", "--cuts", f"{run / 'cuts_test.jsonl.gz'}", *others])
    with pytest.raises(ValueError, match="--checkpoint needs --cuts"):
        decode_asr.main(["--checkpoint", f"{run / 'model.pt'}", *others])
    assert not (run / "mistake").exists()


def test_methods_that_make_sense() -> None:
    options = config_file.load(AsrConfig, None, ["task=asr"]).decode
    assert choose_methods(options, "char", has_graph=True) == options.methods
    assert choose_methods(options, "phone", has_graph=True) == ["graph_1best", "graph_nbest"]
    with pytest.raises(ValueError, match="graph_1best, graph_nbest need --graph"):
        choose_methods(options, "bpe", has_graph=False)


def test_nan_names_the_utterances(run: Path) -> None:
    options = AsrConfig(task="asr").decode
    searches = Searches(["ctc_greedy"], options, Units.load(run / "lang"), None, [])
    log_probs = np.zeros((2, 3, 8), dtype=np.float32)
    log_probs[1, 1] = np.nan
    utterances = [Utterance("good", "A", "", 1.0), Utterance("坏", "A", "", 1.0)]
    with pytest.raises(ValueError, match="the posteriors of 坏 hold NaN"):
        searches(Batch(utterances, log_probs, np.array([3, 3])))
    searches(Batch(utterances, log_probs, np.array([3, 1])))
