"""Write text: token sampling, KV caches, the batch, the decode loop, the cost of each token."""
