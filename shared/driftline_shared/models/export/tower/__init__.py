"""The vision tower in an export: its graph, its int8 form, and what compressors read of it."""
