"""Pairs as graphs for ONNX Runtime: what `driftline models export` writes."""
