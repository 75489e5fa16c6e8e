"""Corpora: who speaks, where, in which file."""
