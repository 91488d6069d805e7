"""ON-LSTM [Shen2019]: a language model whose forget gates say where constituents end.

Nothing is imported here, so that `parsers.on_lstm.options` does not load torch.
"""
