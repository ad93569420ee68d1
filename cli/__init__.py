"""The command line: `steer compose`, `extract`, `ls`, `show`, `env`."""
