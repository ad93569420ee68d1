"""Rows by layer in files of several formats: arrays, pickles of torch, JSON; and what such a file says of them."""
