"""What code is generated for and costs are known of: TFLite, ONNX, devices and networks."""
