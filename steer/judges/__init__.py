"""Who says whether a text has a concept; almanac.py is the only door to the embedded world."""
