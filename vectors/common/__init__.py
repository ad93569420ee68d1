"""Errors, input checks, files, random streams, progress, statistics, HTML escaping: nothing here knows a model."""
