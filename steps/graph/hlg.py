"""The search graph: lexicon, n-gram and CTC topology as one transducer of frames to words.

L with disambiguation symbols, composed with G (the n-gram, back-off read as #0), determinised and minimised while
those symbols keep it unambiguous; then they become epsilons, and the CTC topology is put in front. Labels:
input is token id + 1 (0 is epsilon, 1 the blank), output is the id in words.txt.
"""

import json
import logging
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import kaldifst

from steps.graph import openfst, topology
from steps.graph.config import GraphConfig
from steps.graph.lexicon import BACKOFF, UNK, Lexicon, disambiguate, read_symbols
from steps.graph.units import Units

NOTHING_IN_COMMON = "no word of the lexicon is in the n-gram: it was made for other words or other units"
READ_ARPA = """
import sys, kaldilm
arpa, words, out, order = sys.argv[1:]
kaldilm.arpa2fst(arpa, out, disambig_symbol="#0", read_symbol_table=words, max_order=int(order))
"""


@dataclass
class Symbols:
    """What the labels of a lang directory mean."""

    tokens: dict[str, int]
    words: dict[str, int]

    @classmethod
    def read(cls, lang_dir: Path) -> "Symbols":
        """Reads tokens.txt and words.txt."""
        tables = (read_symbols(lang_dir / name) for name in ("tokens.txt", "words.txt"))
        return cls(*({symbol: i for i, symbol in enumerate(table)} for table in tables))

    def disambiguation(self, k: int) -> int:
        """The input label of #k: beyond those of the tokens."""
        return len(self.tokens) + 1 + k


def compile_graph(lang_dir: Path, arpa: Path, config: GraphConfig, out: Path) -> dict[str, int]:
    """Writes the graph directory `out` (HLG.fst, words.txt, tokens.txt, graph.json) and returns its sizes.

    Raises ValueError where lang directory and n-gram do not fit, or the finished graph refuses what it should
    accept.
    """
    Units.load(lang_dir)  # refuses an incomplete directory
    symbols = Symbols.read(lang_dir)
    lexicon = Lexicon.read(lang_dir / "lexicon.txt")
    tokens_to_words = compose_lexicon(lexicon_fst(lexicon, symbols), read_ngram(arpa, lang_dir, config.max_order))
    lg = openfst.from_kaldifst(tokens_to_words)
    lg.ilabel[lg.ilabel >= symbols.disambiguation(0)] = 0
    logging.info("LG: %d states, %d arcs", len(lg.final), len(lg.source))
    graph = openfst.to_kaldifst(topology.expand(lg, config.branches))
    kaldifst.connect(graph)
    check(graph, lexicon, symbols, config.check_paths)
    return _write(graph, lg, lang_dir, out)


def lexicon_fst(lexicon: Lexicon, symbols: Symbols) -> "kaldifst.StdVectorFst":
    """L, closed under repetition: token labels, with #k where words read alike, to words; #0 passes through."""
    fst = kaldifst.StdVectorFst()
    loop = fst.add_state()
    fst.start = loop
    fst.set_final(loop, 0.0)
    backoff = kaldifst.StdArc(symbols.disambiguation(0), symbols.words[BACKOFF], 0.0, loop)
    fst.add_arc(loop, backoff)
    for word, tokens, k in disambiguate(lexicon)[0]:
        labels = [symbols.tokens[token] + 1 for token in tokens]
        labels += [symbols.disambiguation(k)] if k else []
        state, output = loop, symbols.words[word]
        for i, label in enumerate(labels):
            target = loop if i + 1 == len(labels) else fst.add_state()
            fst.add_arc(state, kaldifst.StdArc(label, output, 0.0, target))
            state, output = target, 0
    return fst


def read_ngram(arpa: Path, lang_dir: Path, max_order: int) -> "kaldifst.StdVectorFst":
    """G from an ARPA file, over the ids of words.txt, with #0 on the input side of back-off.

    kaldilm runs in a process of its own, since it aborts the process at a file that it cannot read. Raises
    ValueError with what it said then.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/G.fst"
        words = str(lang_dir / "words.txt")
        command = [sys.executable, "-c", READ_ARPA, str(arpa), words, path, str(max_order or -1)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.startswith(("[E]", "[F]"))]
            reason = said[-1][4:] if said else done.stderr.strip()[-500:]
            raise ValueError(f"{arpa}: not an ARPA file that kaldilm can read: {reason}")
        return kaldifst.StdVectorFst.read(path)


def compose_lexicon(lexicon: "kaldifst.StdVectorFst", ngram: "kaldifst.StdVectorFst") -> "kaldifst.StdVectorFst":
    """LG, deterministic on its input as long as the disambiguation symbols are there, and minimal."""
    kaldifst.arcsort(lexicon, "olabel")
    kaldifst.arcsort(ngram, "ilabel")
    lg = kaldifst.compose(lexicon, ngram)
    if lg.num_states == 0:
        raise ValueError(NOTHING_IN_COMMON)
    kaldifst.determinize_star(lg, use_log=True)
    kaldifst.minimize_encoded(lg)
    return lg


def check(graph: "kaldifst.StdVectorFst", lexicon: Lexicon, symbols: Symbols, paths: int) -> None:
    """Raises ValueError unless the graph accepts random sequences of its own words, spelled as CTC reads them."""
    outputs = set(openfst.from_kaldifst(graph).olabel.tolist())
    words = [word for word in lexicon.words if symbols.words[word] in outputs and word != UNK]
    chance = random.Random(0)
    if not words:
        raise ValueError(NOTHING_IN_COMMON)
    for _ in range(paths):
        chosen = chance.choices(words, k=chance.randint(1, 4))
        tokens = [token for word in chosen for token in chance.choice(lexicon[word])]
        labels = frame_labels([symbols.tokens[token] + 1 for token in tokens])
        frames = kaldifst.make_linear_acceptor(labels)
        if kaldifst.compose(frames, graph).num_states == 0:
            raise ValueError(f"the graph refuses '{' '.join(chosen)}'; this is a defect of steps.graph: report it")


def frame_labels(labels: list[int]) -> list[int]:
    """The shortest frames of a token sequence: a blank between equal neighbours, else one frame a token."""
    frames: list[int] = []
    for label in labels:
        if frames and frames[-1] == label:
            frames.append(topology.BLANK_LABEL)
        frames.append(label)
    return frames


def _write(graph: "kaldifst.StdVectorFst", lg: openfst.Arrays, lang_dir: Path, out: Path) -> dict[str, int]:
    out.mkdir(parents=True, exist_ok=True)
    path = out / "HLG.fst"
    fst = kaldifst.StdConstFst(graph)
    if not fst.write(str(path)):
        raise OSError(f"{path}: could not be written; is the disk full?")
    for name in ("words.txt", "tokens.txt"):
        shutil.copyfile(lang_dir / name, out / name)
    arcs = openfst.read(path)
    sizes = {
        "states": len(arcs.final),
        "arcs": len(arcs.source),
        "epsilon_arcs": int((arcs.ilabel == 0).sum()),
        "bytes": path.stat().st_size,
        "lg_states": len(lg.final),
        "lg_arcs": len(lg.source),
    }
    (out / "graph.json").write_text(json.dumps(sizes, indent=2) + "\n", encoding="utf-8")
    return sizes
