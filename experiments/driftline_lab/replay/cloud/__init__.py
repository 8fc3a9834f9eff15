"""The cloud of a replay: in this process, or in one of its own."""
