"""`driftline lab compress-bench`: every method of visual-token compression on equal terms."""
