"""NNCF, Intel's compression framework, on its ONNX backend."""

from loadtest.compression.tool import Tool

TOOL = Tool(
    name="nncf",
    job="loadtest.compression.tools.nncf_job",
    settings={
        "quantize": "nncf.quantize with its defaults",
        "quantize-mixed": "nncf.quantize with preset MIXED, for activations that are not symmetric",
        "weights": "nncf.compress_weights with its defaults (int8, weights alone)",
    },
    packages=("nncf", "onnx", "onnxruntime"),
    requirements=("nncf==3.4.0", "onnx==1.23.2", "onnxruntime==1.32.0"),
)
