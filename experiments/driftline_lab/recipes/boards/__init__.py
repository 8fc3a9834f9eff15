"""The recipe of the pair `boards`."""
