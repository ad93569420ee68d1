"""The commands that sample texts: compose, explore, demo."""
