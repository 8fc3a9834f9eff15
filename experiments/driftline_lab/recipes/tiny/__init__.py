"""How the reference pair `tiny` is made."""
