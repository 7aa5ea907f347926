"""Export: ONNX, OpenVINO and INT8 files, and what runs them."""
