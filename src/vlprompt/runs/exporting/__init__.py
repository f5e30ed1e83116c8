"""Runs as files that other programs run: ONNX, or a program of torch.export."""
