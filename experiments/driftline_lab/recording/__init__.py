"""Traces that the lab makes: a world seen by a pair's student, with all its tokens."""
