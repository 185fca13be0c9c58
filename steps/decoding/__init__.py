"""Searching: greedy, prefix beam, graphs, lattices."""
