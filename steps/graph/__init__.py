"""Lexicon, n-gram, topology, HLG: building FSTs."""
