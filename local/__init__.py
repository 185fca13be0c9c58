"""What is true of one corpus: its files, its splits, its transcripts. One module per corpus."""
