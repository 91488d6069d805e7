"""How two models, and texts, compare."""
