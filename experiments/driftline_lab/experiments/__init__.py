"""Streams with rounds in one process, on cached tokens: what the paper's tables are made with."""
