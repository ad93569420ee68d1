"""Runs as one page of HTML that needs no network: figures, plots, and every text with what each token cost."""
