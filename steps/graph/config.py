"""Settings of units, n-gram and graph; what they mean for a user stands in each comment."""

from dataclasses import dataclass, field

UNITS = ("char", "bpe", "phone")
WORDS = ("auto", "token", "word")
SPACES = ("auto", "keep", "drop")
BPE_TYPES = ("unigram", "bpe")
G2P = ("none", "pypinyin", "espeak")


@dataclass
class LangConfig:
    """What the model's tokens are, and what the graph's words are."""

    units: str = "char"  # char | bpe | phone
    words: str = "auto"  # of the graph: token (an n-gram of tokens) | word | auto (what the text suggests)
    spaces: str = "auto"  # char units: keep = a word starts with the token "▁"; drop; auto = by the script
    min_count: int = 1  # char: a character rarer than this in the training text becomes <unk>
    vocab_size: int = 500  # bpe: pieces, with <blk> and <unk>
    bpe_type: str = "unigram"  # bpe: unigram | bpe, the two sentencepiece models
    g2p: str = "pypinyin"  # phone: words that the lexicon lacks; none | pypinyin (Chinese) | espeak (all)
    g2p_voice: str = "en-us"  # phone: eSpeak NG's voice for words that are not Chinese
    g2p_stress: bool = False  # phone: keep eSpeak's stress marks as part of the vowel

    def __post_init__(self) -> None:
        _choice("lang.units", self.units, UNITS)
        _choice("lang.words", self.words, WORDS)
        _choice("lang.spaces", self.spaces, SPACES)
        _choice("lang.bpe_type", self.bpe_type, BPE_TYPES)
        _choice("lang.g2p", self.g2p, G2P)
        _at_least("lang.min_count", self.min_count, 1)
        _at_least("lang.vocab_size", self.vocab_size, 3)


@dataclass
class NgramConfig:
    """A modified Kneser-Ney model of the graph's words."""

    order: int = 3
    min_counts: list[int] = field(default_factory=lambda: [1])  # per order; the last holds for higher orders

    def __post_init__(self) -> None:
        _at_least("ngram.order", self.order, 1)
        if not self.min_counts or sorted(self.min_counts) != list(self.min_counts) or self.min_counts[0] < 1:
            raise ValueError(
                f"ngram.min_counts={list(self.min_counts)}: expected counts from 1 up, not decreasing with the "
                "order (an n-gram may not outlive its beginning or its end), for instance [1,1,2]"
            )


@dataclass
class GraphConfig:
    """How lexicon and n-gram become one search graph."""

    max_order: int = 0  # use the n-grams of the ARPA file up to this order; 0 = all
    branches: int = 16  # of the trees that share the exits of widely reached states (steps/graph/topology.py)
    check_paths: int = 20  # random word sequences that the finished graph has to accept

    def __post_init__(self) -> None:
        _at_least("graph.max_order", self.max_order, 0)
        _at_least("graph.branches", self.branches, 2)
        _at_least("graph.check_paths", self.check_paths, 0)


def _choice(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{key}={value}: expected one of {', '.join(known)}")


def _at_least(key: str, value: int, low: int) -> None:
    if value < low:
        raise ValueError(f"{key}={value}: expected {low} or more")
