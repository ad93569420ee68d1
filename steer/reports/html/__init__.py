"""Runs as one self-contained page of HTML: figures, plots, every text with the cost of each token."""
