"""Write shifts into the weights of a checkpoint."""
