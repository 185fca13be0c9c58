"""The whole graph against the lexicon, the n-gram and CTC, by enumeration."""

import itertools
import json
from pathlib import Path

import kaldifst
import numpy as np
import pytest

from steps.graph import hlg, lang, ngram, openfst
from steps.graph.backoff import BackoffModel
from steps.graph.config import GraphConfig, LangConfig, NgramConfig
from steps.graph.lexicon import Lexicon, read_symbols

# homophones (in, inn), a word that begins another (a, ab), and tokens that meet their like (ab ba, a a)
LEXICON = {"a": "A", "ab": "A B", "ba": "B A", "in": "I", "inn": "I", "bib": "B I B"}
TEXTS = ["a ab in", "ba ab inn", "a a in", "bib", "in a", "inn ba bib a", "ab ba"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, BackoffModel]:
    """lang, n-gram and graph of the words above, in a path with spaces and Chinese."""
    folder = tmp_path_factory.mktemp("图 g")
    lexicon = Lexicon((word, tokens.split()) for word, tokens in LEXICON.items())
    lang.prepare(LangConfig(units="phone"), TEXTS, [], lexicon, folder / "lang")
    vocabulary = [word for word in read_symbols(folder / "lang" / "words.txt") if word not in ("<eps>", "#0")]
    model = ngram.estimate([text.split() for text in TEXTS], vocabulary, NgramConfig(order=3))
    model.write_arpa(folder / "lm.arpa")
    hlg.compile_graph(folder / "lang", folder / "lm.arpa", GraphConfig(branches=2), folder / "graph")
    return folder, model


def best(frames: kaldifst.StdVectorFst, graph: kaldifst.StdVectorFst) -> tuple[float, list[int]]:
    """Cost and output labels of the best path; infinite where there is none."""
    path = kaldifst.shortest_path(kaldifst.compose(frames, graph))
    if path.num_states == 0:
        return np.inf, []
    _, _, outputs, cost = kaldifst.get_linear_symbol_sequence(path)
    return cost.value, [label for label in outputs if label]


def linear(log_probs: np.ndarray) -> kaldifst.StdVectorFst:
    """Posteriors (T, V) as an acceptor of any label + 1 at each frame."""
    lines = [f"{t} {t + 1} {v + 1} {v + 1} {-p}\n" for t, row in enumerate(log_probs) for v, p in enumerate(row)]
    return kaldifst.compile("".join(lines) + f"{len(log_probs)} 0\n")


def labels_of(tokens: list[str], words: list[str]) -> list[int]:
    """Frame labels of a word sequence, one frame a token."""
    spelled = [token for word in words for token in LEXICON[word].split()]
    return hlg.frame_labels([tokens.index(token) + 1 for token in spelled])


def test_cost_of_words_is_that_of_the_ngram(made):
    folder, model = made
    graph = kaldifst.StdVectorFst(kaldifst.StdConstFst.read(str(folder / "graph" / "HLG.fst")))
    tokens, words = (read_symbols(folder / "graph" / f"{name}.txt") for name in ("tokens", "words"))
    chance = np.random.default_rng(0)
    for _ in range(40):
        chosen = chance.choice(list(LEXICON), size=chance.integers(1, 6)).tolist()
        frames = kaldifst.make_linear_acceptor(labels_of(tokens, chosen))
        wanted = kaldifst.make_linear_acceptor([words.index(word) for word in chosen])
        accepted = kaldifst.compose(frames, graph)
        kaldifst.arcsort(accepted, "olabel")
        cost, outputs = best(accepted, wanted)
        assert [words[label] for label in outputs] == chosen
        assert np.isclose(cost, -model.log_probs([chosen]).sum(), atol=0.01), chosen


def test_best_path_of_random_posteriors_by_enumeration(made):
    """Every string of frames, read as CTC does, every word sequence of up to four words that it can mean."""
    folder, model = made
    graph = kaldifst.StdVectorFst(kaldifst.StdConstFst.read(str(folder / "graph" / "HLG.fst")))
    tokens, words = (read_symbols(folder / "graph" / f"{name}.txt") for name in ("tokens", "words"))
    sequences = [list(s) for n in range(1, 5) for s in itertools.product(LEXICON, repeat=n)]
    of_tokens: dict[tuple, tuple[float, list[str]]] = {}
    for sequence in sequences:
        spelled = tuple(tokens.index(t) for word in sequence for t in LEXICON[word].split())
        candidate = (-model.log_probs([sequence]).sum(), sequence)
        of_tokens[spelled] = min(candidate, of_tokens.get(spelled, (np.inf, [])))
    strings = np.array(list(itertools.product(range(len(tokens)), repeat=4)))
    read = [tuple(t for t, _ in itertools.groupby(string) if t != 0) for string in strings.tolist()]
    possible = np.array([spelled in of_tokens for spelled in read])
    for seed in range(6):
        log_probs = np.log(np.random.default_rng(seed).dirichlet(np.full(len(tokens), 0.5), size=4))
        acoustic = -log_probs[np.arange(4), strings].sum(axis=1)
        costs = [(a + of_tokens[r][0], of_tokens[r][1]) for a, r, p in zip(acoustic, read, possible, strict=True) if p]
        cost, outputs = best(linear(log_probs), graph)
        expected, sequence = min(costs)
        assert np.isclose(cost, expected, atol=0.01)
        assert [words[label] for label in outputs] == sequence


def test_equal_tokens_need_a_blank(made):
    folder, _ = made
    graph = kaldifst.StdVectorFst(kaldifst.StdConstFst.read(str(folder / "graph" / "HLG.fst")))
    tokens, words = (read_symbols(folder / "graph" / f"{name}.txt") for name in ("tokens", "words"))
    a, blank = tokens.index("A") + 1, 1

    def words_of(frames):
        return [words[i] for i in best(kaldifst.make_linear_acceptor(frames), graph)[1]]

    assert words_of([a, a, a]) == ["a"]
    assert words_of([a, blank, a]) == ["a", "a"]
    assert words_of([blank, blank, a, blank]) == ["a"]
    assert hlg.frame_labels([a, a, 7, a]) == [a, blank, a, 7, a]


def test_trees_make_it_smaller_and_change_no_score(tmp_path):
    """A bigram of 60 characters, whose lowest state is left by each and entered after each."""
    chance = np.random.default_rng(0)
    characters = [chr(0x4E00 + i) for i in range(60)]
    texts = ["".join(characters), *("".join(chance.choice(characters, size=6)) for _ in range(50))]
    units = lang.prepare(LangConfig(), texts, [], None, tmp_path / "lang")
    vocabulary = [word for word in read_symbols(tmp_path / "lang" / "words.txt") if word not in ("<eps>", "#0")]
    ngram.estimate(map(units.words, texts), vocabulary, NgramConfig(order=2)).write_arpa(tmp_path / "lm.arpa")
    arcs, found = [], []
    for branches in (3, 1000):
        out = tmp_path / str(branches)
        sizes = hlg.compile_graph(tmp_path / "lang", tmp_path / "lm.arpa", GraphConfig(branches=branches), out)
        arcs.append(sizes["arcs"])
        graph = kaldifst.StdVectorFst(kaldifst.StdConstFst.read(str(out / "HLG.fst")))
        posteriors = [np.random.default_rng(seed).dirichlet(np.full(62, 0.05), size=15) for seed in range(5)]
        found.append([best(linear(np.log(p + 1e-9)), graph) for p in posteriors])
    assert arcs[1] > 60 * 59 > 1.5 * arcs[0]
    for (shared, words), (plain, same_words) in zip(*found, strict=True):
        assert np.isclose(shared, plain, atol=1e-3) and words == same_words and len(words) > 2


def test_files_and_sizes(made):
    folder, _ = made
    graph = openfst.read(folder / "graph" / "HLG.fst")
    sizes = json.loads((folder / "graph" / "graph.json").read_text())
    assert sizes["states"] == len(graph.final) and sizes["arcs"] == len(graph.source)
    assert sizes["bytes"] == (folder / "graph" / "HLG.fst").stat().st_size
    for name in ("tokens.txt", "words.txt"):
        assert (folder / "graph" / name).read_bytes() == (folder / "lang" / name).read_bytes()
    assert graph.ilabel.max() == len(read_symbols(folder / "graph" / "tokens.txt"))  # no disambiguation symbol is left
    assert (graph.target < sizes["states"]).all()


def test_lower_order(made, tmp_path):
    folder, _ = made
    small = hlg.compile_graph(folder / "lang", folder / "lm.arpa", GraphConfig(max_order=1), tmp_path / "one")
    assert small["lg_states"] < json.loads((folder / "graph" / "graph.json").read_text())["lg_states"]


def test_ngrams_that_do_not_fit_are_refused(made, tmp_path):
    folder, _ = made
    arpa = tmp_path / "other.arpa"
    arpa.write_text("this is no model\n")
    with pytest.raises(ValueError, match=r"other.arpa: not an ARPA file .*data. section missing"):
        hlg.compile_graph(folder / "lang", arpa, GraphConfig(), tmp_path / "g")
    ngram.estimate([["x", "y"]], ["x", "y", "<unk>", "<s>", "</s>"], NgramConfig(order=2)).write_arpa(arpa)
    with pytest.raises(ValueError, match="no word of the lexicon is in the n-gram"):
        hlg.compile_graph(folder / "lang", arpa, GraphConfig(), tmp_path / "g")
