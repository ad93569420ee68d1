"""A sample, a set of samples, and the file that samples are written to."""
