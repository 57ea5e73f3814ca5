"""The effect of batch size and sequence length on training: a sweep over both, which goes on where it was stopped."""
