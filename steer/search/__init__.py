"""The radius: one direction per sample, and new centres from picked samples."""
