"""Rewards induced from a teacher's logits, and the policy gradient."""
