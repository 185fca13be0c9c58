"""Back ends of speaker recognition: from embeddings to scores (numpy only)."""
