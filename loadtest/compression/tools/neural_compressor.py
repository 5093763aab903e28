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
        "numpy<2",
        "setuptools<70",
    ),
    note="it needs onnx.mapping, which later releases of onnx do not have; its graphs run on onnxruntime 1.32 like all",
)
