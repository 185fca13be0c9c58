"""Modified Kneser-Ney against hand-computed values, a direct implementation of the formulas, and sums."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from steps.graph import ngram
from steps.graph.backoff import BackoffModel
from steps.graph.config import NgramConfig

SPECIAL = ["<unk>", "<s>", "</s>"]


def arpa_probs(model: BackoffModel, path) -> tuple[dict, dict]:
    """(probability, back-off weight) of each n-gram, read from the model's ARPA file by its definition."""
    model.write_arpa(path)
    probs, weights = {}, {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split("\t")
        if len(fields) > 1:
            words = tuple(fields[1].split(" "))
            probs[words] = 10 ** float(fields[0])
            weights[words] = 10 ** float(fields[2]) if len(fields) > 2 else 1.0
    return probs, weights


def arpa_prob(probs: dict, weights: dict, context: tuple, word: str) -> float:
    """p(word | context) by back-off."""
    if (*context, word) in probs:
        return probs[(*context, word)]
    return weights.get(context, 1.0) * arpa_prob(probs, weights, context[1:], word)


def random_text(seed: int, sentences: int = 40, words: str = "abcdefg") -> list[list[str]]:
    """Sentences of skewed words, among them empty ones."""
    chance = np.random.default_rng(seed)
    shares = 1 / np.arange(1, len(words) + 1)
    lengths = chance.integers(0, 9, size=sentences)
    return [list(chance.choice(list(words), size=n, p=shares / shares.sum())) for n in lengths]


def direct_prob(text: list[list[str]], vocabulary: list[str], context: tuple, word: str) -> float:
    """Chen and Goodman's recursion for order len(context) + 1 = 3, straight from counts, without arrays."""
    closed = [("<s>", *sentence, "</s>") for sentence in text]

    def grams(n):
        return Counter(s[i : i + n] for s in closed for i in range(len(s) - n + 1))

    adjusted = {3: grams(3)}
    for n in (2, 1):
        before = defaultdict(set)
        for gram in grams(n + 1):
            before[gram[1:]].add(gram[0])
        adjusted[n] = {g: c if g[0] == "<s>" else len(before[g]) for g, c in grams(n).items()}
    del adjusted[1][("<s>",)]

    def prob(history, w):
        n = len(history) + 1
        lower = prob(history[1:], w) if n > 1 else 1 / (len(vocabulary) - 1)
        followers = {g: c for g, c in adjusted[n].items() if g[:-1] == history}
        total = sum(followers.values())
        if not total:
            return lower
        d = (0, *ngram.discounts(np.array(list(adjusted[n].values()))))
        mass = sum(d[min(c, 3)] for c in followers.values())
        count = followers.get((*history, w), 0)
        return (count - d[min(count, 3)]) / total + mass / total * lower

    return prob(context, word)


def test_hand_computed_bigram(tmp_path):
    """Three sentences; counts of counts are too few, so D = 0.5, 1, 1.5.

    Words have 1, 1, 1 and </s> 2 different predecessors: five, of which the discounts free 2.5, spread over the
    five words of the vocabulary: p(a) = 0.5/5 + 0.5/5. After "a" come b twice and c once, after <s> a thrice.
    """
    text = [["a", "b"], ["a", "c"], ["a", "b"]]
    model = ngram.estimate(text, ["a", "b", "c", *SPECIAL], NgramConfig(order=2))
    probs, weights = arpa_probs(model, tmp_path / "2.arpa")
    expected = {
        ("a",): 0.2, ("b",): 0.2, ("c",): 0.2, ("</s>",): 0.3, ("<unk>",): 0.1, ("<s>",): 1e-99,
        ("<s>", "a"): 1.5 / 3 + 0.5 * 0.2,
        ("a", "b"): 1 / 3 + 0.5 * 0.2,
        ("a", "c"): 0.5 / 3 + 0.5 * 0.2,
        ("b", "</s>"): 1 / 2 + 0.5 * 0.3,
        ("c", "</s>"): 0.5 + 0.5 * 0.3,
    }  # fmt: skip
    assert probs.keys() == expected.keys()
    for words, prob in expected.items():
        assert math.isclose(probs[words], prob, rel_tol=1e-6), words
    for word in ("<s>", "a", "b", "c"):
        assert math.isclose(weights[(word,)], 0.5, rel_tol=1e-6)
    assert math.isclose(arpa_prob(probs, weights, ("a",), "</s>"), 0.15, rel_tol=1e-6)


def test_discounts_follow_the_paper():
    counts = np.repeat([1, 2, 3, 4, 9], [10, 5, 3, 2, 4])
    # Y = 10 / (10 + 2 * 5)
    assert np.allclose(ngram.discounts(counts), (1 - 0.5, 2 - 3 * 0.5 * 3 / 5, 3 - 4 * 0.5 * 2 / 3))
    assert ngram.discounts(np.array([1, 2, 3])) == ngram.FALLBACK
    assert ngram.discounts(np.repeat([1, 2, 3, 4], [20, 5, 20, 1])) == ngram.FALLBACK  # D2 would be below 0


@pytest.mark.parametrize("seed", [0, 1])
def test_trigram_equals_the_formulas(seed, tmp_path):
    text = random_text(seed)
    vocabulary = [*"abcdefg", "h", *SPECIAL]  # the text has no h
    model = ngram.estimate(text, vocabulary, NgramConfig(order=3))
    probs, weights = arpa_probs(model, tmp_path / "3.arpa")
    for context in [("a", "b"), ("<s>", "a"), ("g", "f"), ("b", "h"), ("a", "a")]:
        for word in vocabulary:
            if word != "<s>":
                direct = direct_prob(text, vocabulary, context, word)
                assert math.isclose(arpa_prob(probs, weights, context, word), direct, rel_tol=1e-5), (context, word)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("min_counts", [[1], [1, 2], [2, 2, 3]])
@pytest.mark.parametrize("seed", [2, 3])
def test_every_context_sums_to_one(order, min_counts, seed, tmp_path):
    vocabulary = ["h", *"abcdefg", *SPECIAL]
    config = NgramConfig(order=order, min_counts=min_counts)
    model = ngram.estimate(random_text(seed, 120), vocabulary, config)
    probs, weights = arpa_probs(model, tmp_path / "n.arpa")
    contexts = {gram[:-1] for gram in probs} | {("<unk>", "h")[: order - 1]}
    predicted = [word for word in vocabulary if word != "<s>"]
    for context in contexts:
        total = sum(arpa_prob(probs, weights, context, word) for word in predicted)
        assert math.isclose(total, 1.0, rel_tol=1e-5), context


def test_cutoffs_remove_rare_ngrams_and_nothing_they_need():
    text = random_text(4, 120)
    vocabulary = [*"abcdefg", *SPECIAL]
    full = ngram.estimate(text, vocabulary, NgramConfig(order=3))
    cut = ngram.estimate(text, vocabulary, NgramConfig(order=3, min_counts=[1, 1, 3]))
    raw = Counter(tuple(s[i : i + 3]) for s in (["<s>", *t, "</s>"] for t in text) for i in range(len(s) - 2))
    assert len(full.levels[2].word) == len(raw)
    assert len(cut.levels[2].word) == sum(count >= 3 for count in raw.values())
    assert len(cut.levels[1].word) == len(full.levels[1].word)


def test_log_probs_equal_the_arpa_file(tmp_path):
    model = ngram.estimate(random_text(5), [*"abcdefg", *SPECIAL], NgramConfig(order=3))
    probs, weights = arpa_probs(model, tmp_path / "3.arpa")
    fresh = [*random_text(6), ["a", "zzz", "b"], []]
    expected = []
    for sentence in fresh:
        words = ["<s>", *(word if word != "zzz" else "<unk>" for word in sentence), "</s>"]
        for i in range(1, len(words)):
            context = tuple(words[max(0, i - 2) : i])
            expected.append(math.log(arpa_prob(probs, weights, context, words[i])))
    assert np.allclose(model.log_probs(fresh), expected, atol=1e-5)


def test_perplexity_leaves_unknown_words_out():
    model = ngram.estimate([["a"], ["b"]], ["a", "b", *SPECIAL], NgramConfig(order=1))
    # adjusted counts are raw for one order: a 1, b 1, </s> 2 of 4; 2 of them freed for the 4 words
    perplexity, unknown = model.perplexity([["a", "c"]])
    assert unknown == 1
    p_a, p_end = 0.5 / 4 + 0.5 / 4, 1 / 4 + 0.5 / 4
    assert math.isclose(perplexity, (p_a * p_end) ** -0.5, rel_tol=1e-9)


def test_unknown_words_are_counted_as_unk():
    text = [["a", "x"], ["a", "y"], ["a", "b"]]
    with_unk = ngram.estimate(text, ["a", "b", *SPECIAL], NgramConfig(order=2))
    named = [["a", "<unk>"], ["a", "<unk>"], ["a", "b"]]
    assert np.allclose(
        with_unk.log_probs(text), ngram.estimate(named, ["a", "b", *SPECIAL], NgramConfig(order=2)).log_probs(named)
    )


def test_what_cannot_be_estimated_is_refused():
    with pytest.raises(ValueError, match="no text"):
        ngram.estimate([], ["a", *SPECIAL], NgramConfig())
    with pytest.raises(ValueError, match=r"lacks <s>, </s>.*prepare_lang"):
        ngram.estimate([["a"]], ["a", "<unk>"], NgramConfig())
    with pytest.raises(ValueError, match=r"min_counts=\[2, 1\].*not decreasing"):
        NgramConfig(min_counts=[2, 1])
    with pytest.raises(ValueError, match="no text to measure"):
        ngram.estimate([["a"]], ["a", *SPECIAL], NgramConfig()).perplexity([])
