"""Learning, or not, where the answers are given; nothing travels."""
