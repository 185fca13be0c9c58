"""Graph search: against exhaustive search of small graphs, and one engine against the other."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from steps.decoding.config import DecodeConfig
from steps.decoding.engine import load_graph, resolve, search
from steps.decoding.posteriors import PosteriorFile
from steps.graph import openfst
from steps.graph.openfst import Arrays

WIDE = DecodeConfig(search_beam=1000.0, lattice_beam=1000.0, max_active=100_000, nbest=1000)
ENGINES = ["openfst", pytest.param("k2", marks=pytest.mark.k2)]


def write_graph(path: Path, arcs: list[tuple], final: dict[int, float], start: int = 0) -> Path:
    """arcs: (source, target, ilabel, olabel, cost)."""
    source, target, ilabel, olabel, weight = (np.array(column) for column in zip(*sorted(arcs), strict=True))
    costs = np.full(max(source.max(), target.max()) + 1, np.inf, dtype=np.float32)
    for state, cost in final.items():
        costs[state] = cost
    openfst.write(Arrays(start, costs, source, ilabel, olabel, weight.astype(np.float32), target), path)
    return path


@pytest.fixture(scope="module")
def tiny_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens 1, 2 with CTC blanks and repeats; "1" is word 5 or 6, "2" is word 7; an epsilon after each word."""
    arcs = [
        (2, 2, 1, 0, 0.0),  # blank between words; the start is state 2, not 0
        (2, 0, 2, 5, 0.7), (2, 0, 2, 6, 0.9), (0, 0, 2, 0, 0.0), (0, 3, 0, 0, 0.2),
        (2, 1, 3, 7, 0.4), (1, 1, 3, 0, 0.0), (1, 3, 0, 0, 0.1),
        (3, 2, 1, 0, 0.3), (3, 1, 3, 7, 1.1),
    ]  # fmt: skip
    return write_graph(tmp_path_factory.mktemp("tiny") / "HLG.fst", arcs, {2: 0.6, 3: 0.25}, start=2)


def exhaustive(path: Path, log_probs: np.ndarray, scale: float = 1.0) -> dict[tuple, tuple[float, float, float]]:
    """The best alignment's (total, acoustic, graph) of every word sequence that ends in a final state."""
    fst = openfst.read(path)
    found: dict[tuple, tuple[float, float, float]] = {}

    def walk(state: int, frame: int, words: tuple, acoustic: float, graph: float) -> None:
        if frame == len(log_probs) and np.isfinite(fst.final[state]):
            total = graph - float(fst.final[state])
            found[words] = max(found.get(words, (-np.inf, 0.0, 0.0)), (scale * acoustic + total, acoustic, total))
        for arc in np.flatnonzero(fst.source == state):
            label, word = int(fst.ilabel[arc]), (int(fst.olabel[arc]),) if fst.olabel[arc] else ()
            cost = graph - float(fst.weight[arc])
            if label == 0:
                walk(int(fst.target[arc]), frame, words + word, acoustic, cost)
            elif frame < len(log_probs):
                emitted = acoustic + float(log_probs[frame, label - 1])
                walk(int(fst.target[arc]), frame + 1, words + word, emitted, cost)

    walk(fst.start, 0, (), 0.0, 0.0)
    return found


def random_batch(seed: int, lengths: tuple[int, ...], num_tokens: int = 3) -> tuple[np.ndarray, np.ndarray]:
    logits = np.random.default_rng(seed).normal(size=(len(lengths), max(lengths), num_tokens))
    return (logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))).astype(np.float32), np.array(lengths)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_best_path_and_nbest_list_are_those_of_exhaustive_search(tiny_graph: Path, engine: str, scale: float) -> None:
    graph = load_graph(tiny_graph, engine)
    options = DecodeConfig(**{**vars(WIDE), "acoustic_scale": scale})
    log_probs, lengths = random_batch(3, (6, 1, 7, 4))
    bests = search(graph, torch.from_numpy(log_probs), torch.from_numpy(lengths), options)
    lists = search(graph, log_probs, lengths, options, nbest=True)
    for row, length, (best,), listed in zip(log_probs, lengths, bests, lists, strict=True):
        wanted = exhaustive(tiny_graph, row[:length], scale)
        assert {tuple(hyp.words) for hyp in listed} == set(wanted)
        for hyp in listed:
            _, acoustic, graph_score = wanted[tuple(hyp.words)]
            assert (hyp.acoustic, hyp.graph) == pytest.approx((acoustic, graph_score), abs=1e-3)
            assert not hyp.partial
        assert tuple(best.words) == max(wanted, key=wanted.get)
        assert (best.acoustic, best.graph) == pytest.approx(wanted[tuple(best.words)][1:], abs=1e-4)
        assert listed[0].words == best.words


@pytest.mark.parametrize("engine", ENGINES)
def test_where_no_final_state_is_reached_the_best_partial_path_is_found(tmp_path: Path, engine: str) -> None:
    # Word 9 is the tokens 1 2 1; the utterances end after one, two and three of them.
    arcs = [(0, 1, 2, 9, 0.5), (1, 2, 3, 0, 0.25), (2, 3, 2, 0, 0.125)]
    graph = load_graph(write_graph(tmp_path / "HLG.fst", arcs, {3: 1.0}), engine)
    log_probs = np.log(np.full((4, 3, 3), 0.25, dtype=np.float32))
    for nbest in (False, True):
        found = search(graph, log_probs, np.array([1, 2, 3, 0]), WIDE, nbest=nbest)
        best = [hyps[0] for hyps in found]
        assert [hyp.words for hyp in best] == [[9], [9], [9], []]
        assert [hyp.partial for hyp in best] == [True, True, False, True]
        assert [hyp.graph for hyp in best] == pytest.approx([-0.5, -0.75, -1.875, 0.0], abs=1e-4)
        assert [hyp.acoustic for hyp in best] == pytest.approx([n * np.log(0.25) for n in (1, 2, 3, 0)], abs=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_without_any_path_the_hypothesis_is_empty_and_partial(tiny_graph: Path, engine: str) -> None:
    graph = load_graph(tiny_graph, engine)
    log_probs = np.full((2, 3, 3), -np.inf, dtype=np.float32)
    log_probs[1] = np.log(1 / 3)
    for nbest in (False, True):
        dead, alive = search(graph, log_probs, np.array([3, 3]), DecodeConfig(), nbest=nbest)
        assert (dead[0].words, dead[0].partial, dead[0].score) == ([], True, 0.0)
        assert not alive[0].partial


def test_a_real_graph_corrects_what_greedy_search_gets_wrong(language, posteriors) -> None:
    found = search(load_graph(language.graph, "openfst"), *posteriors, DecodeConfig())
    texts = [language.units.join([language.words[word] for word in hyps[0].words]) for hyps in found]
    right = sum(text == sentence for text, sentence in zip(texts, language.sentences, strict=False))
    assert right >= 18, f"{right} of {len(texts)} sentences recognised"


@pytest.mark.k2
def test_both_engines_agree_on_random_posteriors(language, posteriors) -> None:
    # A beam that prunes nothing of interest: the engines prune differently.
    assert_engines_agree(language.graph, [posteriors], DecodeConfig(search_beam=20.0))


@pytest.mark.k2
def test_both_engines_agree_on_the_mini_corpus() -> None:
    folder = os.environ.get("RECIPE_K2_FIXTURE")
    if not folder:
        pytest.skip("RECIPE_K2_FIXTURE names no directory with posteriors.npz and HLG.fst of a recipe's run")
    stored = PosteriorFile(Path(folder) / "posteriors.npz").batches(1, 1, batch_seconds=20.0)
    batches = [(batch.log_probs, batch.lengths) for batch in stored]
    assert_engines_agree(Path(folder) / "HLG.fst", batches, DecodeConfig())


def assert_engines_agree(path: Path, batches: list[tuple], options: DecodeConfig) -> None:
    """The same words and scores of all best paths; of the first batch the same sequences in n-best lists."""
    graphs = [load_graph(path, engine) for engine in ("openfst", "k2")]
    for place, (log_probs, lengths) in enumerate(batches):
        for nbest in (False, True)[: 2 if place == 0 else 1]:
            results = [search(graph, log_probs, lengths, options, nbest=nbest) for graph in graphs]
            for one, other in zip(*results, strict=True):
                assert one[0].words == other[0].words
                assert one[0].partial == other[0].partial
                scores = [{tuple(hyp.words): (hyp.acoustic, hyp.graph) for hyp in hyps} for hyps in (one, other)]
                # At the edge of the beam, or of the list's length, rounding decides who is in.
                common = scores[0].keys() & scores[1].keys()
                assert len(common) >= 0.9 * max(map(len, scores)) - 1
                for words in common:
                    assert scores[0][words] == pytest.approx(scores[1][words], abs=0.01)


def test_auto_takes_openfst_where_k2_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "k2", None)
    assert resolve("auto") == "openfst"
    assert resolve("openfst") == "openfst"
    with pytest.raises(ValueError, match=r"k2 does not import .* utils\.doctor"):
        resolve("k2")
    with pytest.raises(ValueError, match="engine 'kaldi': expected one of auto, k2, openfst"):
        resolve("kaldi")


@pytest.mark.k2
def test_auto_takes_k2_where_it_imports() -> None:
    assert resolve("auto") == resolve("k2") == "k2"


def test_files_that_are_no_graphs_are_refused(tmp_path: Path, tiny_graph: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.fst does not exist: steps\.compile_graph"):
        load_graph(tmp_path / "none.fst", "openfst")
    (tmp_path / "text.fst").write_text("0 1 1 1\n" * 20)
    with pytest.raises(ValueError, match=r"text\.fst"):
        load_graph(tmp_path / "text.fst", "openfst")
    (tmp_path / "half.fst").write_bytes(tiny_graph.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"half\.fst"):
        load_graph(tmp_path / "half.fst", "openfst")


def test_posteriors_that_do_not_fit_are_refused(tiny_graph: Path) -> None:
    graph = load_graph(tiny_graph, "openfst")
    assert graph.num_tokens == 3
    log_probs, lengths = random_batch(0, (4, 2))
    with pytest.raises(ValueError, match="the graph has 3 tokens, the posteriors 2"):
        search(graph, log_probs[:, :, :2], lengths, WIDE)
    log_probs[1, 3] = np.nan  # beyond the second utterance's end: padding may hold anything
    assert len(search(graph, log_probs, lengths, WIDE)) == 2
    log_probs[0, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        search(graph, log_probs, lengths, WIDE)
