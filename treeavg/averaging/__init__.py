"""Averages of trees: what several parsers agree on. Each file is imported when it is needed."""
