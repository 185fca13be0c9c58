"""Bash and Python helpers that know neither tensors nor corpora (see README, "Where does this line go?")."""
