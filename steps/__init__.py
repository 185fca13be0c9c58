"""Verbs lie at the top and are run with `python3 -m steps.<verb_object>`; nouns are rooms and are only imported."""
