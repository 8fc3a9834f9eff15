"""A disk that fails on order: full, read-only, torn writes, power cuts; and a clock that jumps."""
