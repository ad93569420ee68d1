"""Where a model comes from: a folder, the hub, a GGUF file, or an adapter on top of another model."""
