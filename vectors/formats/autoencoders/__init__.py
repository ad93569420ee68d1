"""Features of sparse autoencoders, as SAELens and other tools store them."""
