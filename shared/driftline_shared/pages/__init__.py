"""HTML pages, as text."""
