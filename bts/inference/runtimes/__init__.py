"""Runtimes that compute a network: PyTorch, ONNX Runtime and OpenVINO, behind one registry."""
