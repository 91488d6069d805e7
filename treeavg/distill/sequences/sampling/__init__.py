"""Sequences drawn from language models, with their probabilities."""
