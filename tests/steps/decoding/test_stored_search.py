"""steps.decode_asr on stored posteriors, which needs neither lhotse nor a recent torch."""

import json
from pathlib import Path

import pytest

from steps import decode_asr
from steps.decoding.posteriors import Batch, Utterance, keeping
from steps.tasks.config import AsrConfig
from utils import config


@pytest.fixture
def stored(language, posteriors, tmp_path: Path) -> Path:
    """A file of posteriors of 24 sentences."""
    log_probs, lengths = posteriors
    utterances = [
        Utterance(f"u{n:02d}", f"s{n % 3}", language.sentences[n], 0.04 * float(length))
        for n, length in enumerate(lengths)
    ]
    with keeping(tmp_path / "posteriors.npz", {"config": config.to_dict(AsrConfig(task="asr"))}) as keep:
        keep(Batch(utterances, log_probs, lengths))
    return tmp_path / "posteriors.npz"


def decode(stored: Path, language, engine: str) -> Path:
    out = stored.parent / engine
    arguments = ["--posteriors", stored, "--lang", language.lang, "--graph", language.graph, "--out", out]
    decode_asr.main([*map(str, arguments), "--engine", engine, "decode.batch_seconds=10", "decode.search_beam=20"])
    return out


def test_graph_search_makes_fewer_errors_than_searches_without_one(stored: Path, language) -> None:
    out = decode(stored, language, "openfst")
    wrong = {}
    for name in ("ctc_greedy", "ctc_prefix_beam", "graph_1best"):
        pairs = [(out / f"{file}.txt").read_text(encoding="utf-8").splitlines() for file in ("ref", f"hyp_{name}")]
        wrong[name] = sum(ref != hyp for ref, hyp in zip(*pairs, strict=True))
    assert wrong["graph_1best"] < min(wrong["ctc_prefix_beam"], wrong["ctc_greedy"])
    stats = json.loads((out / "stats.json").read_text())
    assert stats["engine"] == "openfst"
    assert stats["utterances"] == 24
    assert "network" not in stats["seconds"]


@pytest.mark.k2
def test_both_engines_write_the_same_hypotheses(stored: Path, language) -> None:
    outs = [decode(stored, language, engine) for engine in ("openfst", "k2")]
    for name in ("ref.txt", "hyp_ctc_greedy.txt", "hyp_ctc_prefix_beam.txt", "hyp_graph_1best.txt"):
        assert (outs[0] / name).read_text(encoding="utf-8") == (outs[1] / name).read_text(encoding="utf-8")
    assert json.loads((outs[1] / "stats.json").read_text())["engine"] == "k2"
