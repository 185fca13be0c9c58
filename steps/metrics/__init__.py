"""Output against truth, as numbers."""
