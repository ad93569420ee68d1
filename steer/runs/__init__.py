"""A sample, a set of samples, the file that takes them."""
