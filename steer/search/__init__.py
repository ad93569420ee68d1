"""The radius: one direction a sample, and new centres from picked samples."""
