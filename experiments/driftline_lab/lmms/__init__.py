"""Models behind compressors, evaluated on public tasks by lmms-eval."""
