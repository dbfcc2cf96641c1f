"""Finding the mapping between any two networks by running both, and proving it."""
