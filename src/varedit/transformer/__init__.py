"""The visual autoregressive transformer, from positions (`rope`) to the whole model (`model`)."""
