"""Find candidate concepts without labels."""
