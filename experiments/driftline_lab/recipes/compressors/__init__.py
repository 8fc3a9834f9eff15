"""How compressors that learn are trained on the pair `tiny`."""
