"""Replay: the system driven by a trace under one virtual clock."""
