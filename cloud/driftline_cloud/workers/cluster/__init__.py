"""A Ray cluster of one's own: its token, its certificates, its nodes."""
