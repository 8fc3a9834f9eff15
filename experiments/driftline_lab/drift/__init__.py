"""Synthetic drifts: one file per drift, deterministic by seed, and one table that names them."""
