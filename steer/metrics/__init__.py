"""One file a metric of a run."""
