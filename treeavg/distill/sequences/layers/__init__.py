"""Matching of hidden layers, and students made of their teacher's layers."""
