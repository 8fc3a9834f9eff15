"""Other rules that turn the samples of a round into an adapter."""
