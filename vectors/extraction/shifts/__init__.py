"""Find a shift by what the model predicts: learned, distilled from a prompt, along a gradient, or towards tokens."""
