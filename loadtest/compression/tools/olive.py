"""Olive, Microsoft's model optimization toolkit: its ONNX passes, run as a workflow."""

from loadtest.compression.tool import Tool

TOOL = Tool(
    name="olive",
    job="loadtest.compression.tools.olive_job",
    settings={
        "dynamic": "pass OnnxDynamicQuantization with its defaults",
        "static": "pass OnnxStaticQuantization with its defaults",
        "peephole+static": "passes OnnxPeepholeOptimizer and OnnxStaticQuantization",
    },
    packages=("olive-ai", "onnx", "onnxruntime", "torch"),
    requirements=(
        "olive-ai==0.13.0",
        "torch==2.13.0",
        "onnx==1.23.2",
        "onnxruntime==1.32.0",
        "requests==2.34.2",
    ),
    note="it imports requests and does not ask for it; torch is there because Olive imports it, nothing is trained",
)
