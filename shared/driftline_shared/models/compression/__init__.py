"""Visual-token compression: one file a method, and the driver that runs any of them."""
