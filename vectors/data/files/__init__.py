"""Files, pipes and folders of every format, opened as rows of named cells."""
