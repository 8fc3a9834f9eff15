"""Other forms in which a candidate travels to the devices."""
