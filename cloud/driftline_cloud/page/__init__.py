"""What an operator sees of a cloud in a browser, read from its database by a program of its own."""
