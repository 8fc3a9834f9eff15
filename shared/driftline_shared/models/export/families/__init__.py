"""What is a family's own in an export: its tower, its projector, how it prepares pictures."""
