"""What sequence distillation is used for, each application in its smallest faithful form; no model is loaded here.

- `prompts`: a student that works without its prompt.
- `compression`: a prompt cut down to the tokens that matter.
- `soft_prompts`: a prompt as trained vectors. `gist`: a prompt behind a few gist tokens.
- `reasoning` and `implicit`: a chain of thought moved inside the model, by tokens or by layers.
- `loops` and `filters`: models that learn from what they write, and what decides which of it is kept.
- `policy`: group-relative advantages, preferences, rewards.
"""
