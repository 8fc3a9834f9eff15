"""Bytes <-> arrays: visual tokens going up, weight updates going down (numpy and zstandard)."""
