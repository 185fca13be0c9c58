"""Cuts become batches of tensors here."""
