"""Passes that write artifacts: the TFLite file of the edge, the ONNX models of the cloud."""
