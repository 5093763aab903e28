"""Intel Neural Compressor 2.6, the last line of it that compresses ONNX graphs."""

from loadtest.compression.tool import Tool

TOOL = Tool(
    name="neural_compressor",
    job="loadtest.compression.tools.neural_compressor_job",
    settings={
        "dynamic": "quantization.fit with PostTrainingQuantConfig(approach='dynamic')",
        "static": "quantization.fit with PostTrainingQuantConfig(approach='static')",
    },
    packages=("neural-compressor", "onnx", "onnxruntime", "numpy"),
    requirements=(
        "neural-compressor==2.6",
        "onnx==1.16.2",
        "onnxruntime==1.18.1",
        "numpy==1.26.4",
        "setuptools==65.5.0",
        "six==1.17.0",
    ),
    note="it needs onnx.mapping, which later releases of onnx do not have, and six, which it does not ask for; what it "
    "makes runs on the project's onnxruntime like all others",
)
