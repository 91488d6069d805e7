"""Losses of sequences, from logits, from hidden states, from the top of the teacher's law, and by rank."""
