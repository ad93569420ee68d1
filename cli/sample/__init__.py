"""The commands that write texts: compose, explore, demo."""
