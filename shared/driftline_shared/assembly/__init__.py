"""Puts checkpoints together from pretrained packages and the small weights that a pair ships."""
