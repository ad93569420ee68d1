"""How much of a concept is enough: the pilot that finds its unit."""
