"""Several teachers as one: averages, votes, minimum Bayes risk, bi-level beam search, and the targets they decode."""
