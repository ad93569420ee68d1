"""KV caches of the decode loop: slots that rows reuse, rows that fork above the first shift, or a cache that grows."""
