"""From "sonnet + 0.8 cat" to a steering point."""
