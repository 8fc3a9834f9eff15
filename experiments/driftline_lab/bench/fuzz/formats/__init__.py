"""Every format that comes from outside, broken on purpose, against the code that reads it."""
