"""A trainer on top of Hugging Face's."""
