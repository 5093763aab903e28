"""Dynamic int8: weights are stored as int8, activations are quantized as they come."""

import logging
from contextlib import contextmanager
from typing import Literal

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from pydantic import Field

from app.compression.graph import DENSE_OPERATORS, dense_nodes, last_dense_nodes
from app.compression.quantizer import quantized_copy
from app.compression.technique import Technique, TechniqueConfig
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
