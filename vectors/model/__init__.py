"""A causal language model as a residual stream: load it, read it, shift it, check that steering works."""
