"""The world of the embedded model: its rates, its words, its author and its oracle."""
