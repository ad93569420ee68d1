"""All metrics of a run, of two runs, and as a page."""
