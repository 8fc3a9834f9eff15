"""Weights made here, as files of a package: the pairs `tiny` and `smol`, the model `tiny_video`."""
