"""Write steering into the weights of a checkpoint."""
