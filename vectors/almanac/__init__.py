"""The embedded model: world/ defines its data, training/ builds it, model/ and library/ hold the files."""
