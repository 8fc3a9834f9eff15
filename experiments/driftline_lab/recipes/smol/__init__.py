"""The pair `smol`: pretrained parts, and the small weights that make a teacher and a student."""
