"""onnxruntime's own quantizers, called as their documentation does, with nothing of Slimrank around them."""

from loadtest.compression.tool import Tool

TOOL = Tool(
    name="onnxruntime",
    job="loadtest.compression.tools.onnxruntime_job",
    settings={
        "dynamic": "quantize_dynamic with its defaults",
        "static": "quantize_static with its defaults",
        "static-advised": "quant_pre_process, then quantize_static per channel, activations uint8, weights int8",
    },
    packages=("onnxruntime", "onnx"),
)
