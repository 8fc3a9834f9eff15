"""An exported pair under ONNX Runtime: no torch, no transformers."""
