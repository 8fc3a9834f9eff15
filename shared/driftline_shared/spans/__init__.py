"""Spans of OpenTelemetry: from a sample to the version that it led to."""
