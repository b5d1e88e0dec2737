"""The intermediate representation: an ONNX model whose annotations live in ``metadata_props``."""
