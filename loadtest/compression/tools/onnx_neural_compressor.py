"""ONNX Neural Compressor, the part of Neural Compressor that was moved to the ONNX project."""

from loadtest.compression.tool import Tool

TOOL = Tool(
    name="onnx_neural_compressor",
    job="loadtest.compression.tools.onnx_neural_compressor_job",
    settings={
        "dynamic": "quantize with DynamicQuantConfig and its defaults",
        "static": "quantize with StaticQuantConfig and its defaults",
        "static-qdq": "quantize with StaticQuantConfig in the QDQ format",
    },
    packages=("onnx-neural-compressor", "onnx", "onnxruntime", "numpy"),
    requirements=(
        "onnx-neural-compressor==1.0",
        "onnx==1.23.2",
        "onnxruntime==1.32.0",
        "prettytable==3.18.0",
        "scipy==1.17.1",
    ),
    note="it imports prettytable and scipy and does not ask for them",
)
