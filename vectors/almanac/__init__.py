"""The embedded model: world/ is its truth, training/ is how it was made, model/ and library/ hold its files."""
