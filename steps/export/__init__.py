"""ONNX graphs of trained models, with the metadata that runtimes read."""
