"""Real programs on loopback, broken in every way by a seeded schedule; then invariants checked."""
