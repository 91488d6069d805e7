"""Distillation of sequence models: losses over tokens, rewards, ensembles of language models. Needs ``transformers``."""
