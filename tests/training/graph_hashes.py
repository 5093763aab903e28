"""Prints the sha256 of the exported graph of every architecture, with the same weights in every run."""

import hashlib

import onnx
import torch
from app.training.architecture import architectures, build
from app.training.export import export
from torch import nn

from tests.samples import an_encoder
from tests.training.inputs import with_large_weights


def same_weights(name: str) -> nn.Module:
    return with_large_weights(build(name, {}, an_encoder()))


def sha256(graph: onnx.ModelProto) -> str:
    return hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for architecture in architectures():
        print(architecture, sha256(export(same_weights(architecture), an_encoder())))
