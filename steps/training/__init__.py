"""The only room that knows optimisers, ranks and checkpoints."""
