"""What a replay has worked out before, kept by digest."""
