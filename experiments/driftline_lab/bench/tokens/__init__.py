"""Which tokens to send: whether the deciding one is kept, and what a round makes of it."""
