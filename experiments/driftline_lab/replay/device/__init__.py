"""The device of a replay: its spool, its uplink, its updates, its sampler."""
