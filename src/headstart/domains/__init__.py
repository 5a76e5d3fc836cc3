"""Two domains in one feature space: what moved, how to align them, and how to choose without target labels. Pure."""
