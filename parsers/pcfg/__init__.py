"""Grammars as teachers: the Neural PCFG, the Compound PCFG.

Nothing is imported here, so that `parsers.pcfg.options` does not load torch.
"""
