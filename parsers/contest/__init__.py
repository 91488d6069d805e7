"""ConTest [Cao2020]: words are a constituent if linguistic tests on them leave the sentence grammatical.

Nothing is imported here, so that `parsers.contest.options` does not load torch.
"""
