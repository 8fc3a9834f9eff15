"""What a round does not learn from: samples that look made to mislead it."""
