"""Hold a contest of shifts: cheap ones first, learned ones from the best of them, all judged by samples."""
