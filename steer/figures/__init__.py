"""What came out of a run, in figures: each with its number of texts, its interval, and what it could at best be."""
