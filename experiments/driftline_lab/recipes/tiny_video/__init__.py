"""The recipe of the video reference model `tiny-video`."""
