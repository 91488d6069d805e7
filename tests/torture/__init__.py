"""Torture: fuzzing, kills and faults. ``python -m tests.torture --help``; the figures are in docs/reliability.md."""
