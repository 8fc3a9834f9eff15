"""A training's state on its way: kept now and then, so that a lost process costs a few steps."""
