"""The embedded base model, the world that it learned, and its ready-made concepts."""

NAME = "almanac"
"""What the embedded model is called."""
