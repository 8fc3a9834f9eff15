"""The source domain, the drifted domains, and streams made of them."""
