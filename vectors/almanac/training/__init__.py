"""Train the embedded model and build its library of concepts."""
