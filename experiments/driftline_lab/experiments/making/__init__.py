"""Runs are made before the tables that need them: one after the other here, or side by side."""
