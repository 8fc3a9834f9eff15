"""Other choices of what a device sends."""
