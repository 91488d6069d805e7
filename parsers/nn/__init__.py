"""Encoders, vocabularies and batches: written once, used by every parser."""
