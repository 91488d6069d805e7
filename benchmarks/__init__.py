"""Benchmarks: seeded, each prints one table. ``python -m benchmarks`` runs all; nothing here is a test."""
