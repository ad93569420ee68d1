"""The command line: the program `steer` and its commands."""
