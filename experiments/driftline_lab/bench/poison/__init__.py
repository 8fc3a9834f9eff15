"""What hostile devices do to a round, with and without what is held against them."""
