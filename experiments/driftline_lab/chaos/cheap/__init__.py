"""A pair without models: what a device runs and a cloud trains in microseconds, and can break."""
