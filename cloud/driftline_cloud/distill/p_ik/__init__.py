"""The P(IK) heads that go with versions."""
