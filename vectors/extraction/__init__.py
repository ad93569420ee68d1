"""Find a direction in labelled texts: one file a method."""
