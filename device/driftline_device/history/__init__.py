"""What was answered, and what the owner said about it."""
