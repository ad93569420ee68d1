"""Errors, checks, files, random streams, progress, HTML escaping: nothing here knows a model."""
