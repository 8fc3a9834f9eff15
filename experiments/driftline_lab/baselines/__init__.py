"""Rules to compare with: who learns, from what, and what travels for it."""
