"""Texts and labels: contrast sets, splits, readers of txt, jsonl and csv files."""
