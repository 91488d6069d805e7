"""DIORA and S-DIORA: unsupervised parsers that predict each word from what is outside it.

Nothing is imported here, so that `parsers.diora.options` does not load torch.
"""
