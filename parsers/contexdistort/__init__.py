"""ContexDistort: trees from how much an encoder's vectors change when spans are replaced, isolated or moved.

Nothing is imported here, so that `parsers.contexdistort.options` does not load torch.
"""
