"""Graph search with kaldi-decoder and kaldifst, which need no torch. They hold the GIL: run several jobs."""

from dataclasses import replace
from pathlib import Path

import kaldi_decoder
import kaldifst
import numpy as np

from steps.decoding.config import DecodeConfig
from steps.decoding.lattice import Hypothesis, Lattice, nbest


class OpenfstGraph:
    """See `steps.decoding.engine.Graph`."""

    name = "openfst"

    def __init__(self, path: Path, num_tokens: int):
        self.num_tokens = num_tokens
        self.fst = kaldifst.StdFst.read(str(path))

    def search(self, rows: list[np.ndarray], options: DecodeConfig, nbest: bool) -> list[list[Hypothesis]]:
        """See `steps.decoding.engine.Graph`."""
        one = self._nbest_list if nbest else self._best_path
        return [one(kaldi_decoder.DecodableCtc(row), options) for row in rows]

    def _best_path(self, decodable: kaldi_decoder.DecodableCtc, options: DecodeConfig) -> list[Hypothesis]:
        config = kaldi_decoder.FasterDecoderOptions(
            beam=options.search_beam, max_active=options.max_active, min_active=options.min_active
        )
        decoder = kaldi_decoder.FasterDecoder(self.fst, config)
        decoder.decode(decodable)
        some, path = decoder.get_best_path()
        if not some:
            return []
        _, _, words, weight = kaldifst.get_linear_symbol_sequence(path)
        acoustic = -weight.value2 / options.acoustic_scale
        return [Hypothesis(words, acoustic, -weight.value1, not decoder.reached_final())]

    def _nbest_list(self, decodable: kaldi_decoder.DecodableCtc, options: DecodeConfig) -> list[Hypothesis]:
        config = kaldi_decoder.LatticeSimpleDecoderConfig(beam=options.search_beam, lattice_beam=options.lattice_beam)
        decoder = kaldi_decoder.LatticeSimpleDecoder(self.fst, config)
        decoder.decode(decodable)
        some, raw = decoder.get_raw_lattice()
        partial = decoder.final_relative_cost() == float("inf")
        hypotheses = nbest(read_lattice(raw), options) if some else []
        return [replace(hypothesis, partial=partial) for hypothesis in hypotheses]


def read_lattice(raw: kaldifst.Lattice) -> Lattice:
    """A kaldifst lattice as arrays, with one final state added.

    Goes through the text form, whose six digits make scores exact to about 1e-4.
    """
    final = raw.num_states
    arcs = []
    for line in raw.to_str(show_weight_one=True).splitlines():
        fields = line.split()
        if len(fields) == 2:  # final state and its weight
            fields = [fields[0], str(final), "0", "0", fields[1]]
        graph, acoustic = fields[4].split(",")
        arcs.append((int(fields[0]), int(fields[1]), int(fields[3]), -float(acoustic), -float(graph)))
    source, target, word, acoustic, graph = (np.array(column) for column in zip(*arcs, strict=True))
    return Lattice(final + 1, raw.start, final, source, target, word, acoustic, graph)
