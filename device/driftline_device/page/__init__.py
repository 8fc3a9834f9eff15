"""What a device shows its owner in a browser: pure, from values to a page."""
