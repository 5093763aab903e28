"""Weights on disk."""

from pathlib import Path

import pytest
import torch
from app.errors import ConfigurationError
from app.training.checkpoint import load_weights, save_weights
from safetensors.torch import save_file
from torch import nn


class Network(nn.Module):
    def __init__(self, width: int = 3, *, buffer: bool = True) -> None:
        super().__init__()
        self.layer = nn.Linear(width, 2)
        if buffer:
            self.register_buffer("steps", torch.tensor([1, 2]))


class Tied(nn.Module):
    """The same table under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Embedding(4, 2)
        self.other = self.one


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_weights(Network(), path, "abc")
    return path


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    module, other = Network(), Network()
    module.layer.weight.data = torch.randn(3, 2).T  # not contiguous
    module.get_buffer("steps").fill_(7)
    save_weights(module, tmp_path / "w", "the encoder's")
    assert load_weights(other, tmp_path / "w") == "the encoder's"
    for name, value in module.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


def test_equal_weights_give_equal_bytes(tmp_path: Path, saved: Path) -> None:
    module = Network()
    load_weights(module, saved)
    save_weights(module, tmp_path / "again", "abc")
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()


def test_weights_that_are_used_twice(tmp_path: Path) -> None:
    module, other = Tied(), Tied()
    save_weights(module, tmp_path / "w", "abc")
    load_weights(other, tmp_path / "w")
    assert torch.equal(other.one.weight, module.one.weight)
    assert other.one.weight is other.other.weight


@pytest.mark.parametrize("metadata", [None, {"made": "elsewhere"}])
def test_a_checkpoint_need_not_name_an_encoder(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file(Network().state_dict(), tmp_path / "w", metadata)
    assert load_weights(Network(), tmp_path / "w") is None


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (Network(buffer=False), "has 'steps', which the model does not have"),
        (nn.Sequential(nn.Linear(3, 2)), "has no '0.bias', which the model needs"),
        (Network(4), r"'layer.weight' is \[2, 3\], and the model's is \[2, 4\]"),
    ],
)
def test_weights_of_another_model_are_named(saved: Path, module: nn.Module, why: str) -> None:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ConfigurationError, match=f"the checkpoint weights.safetensors.*{why}"):
        load_weights(module, saved)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize("cut", [0, 5, 60, -1])
def test_a_damaged_file_is_named(saved: Path, cut: int) -> None:
    saved.write_bytes(saved.read_bytes()[:cut])
    with pytest.raises(ConfigurationError, match=r"weights.safetensors is not a safetensors file"):
        load_weights(Network(), saved)


def test_a_pickle_is_not_read(saved: Path) -> None:
    torch.save(Network().state_dict(), saved)
    with pytest.raises(ConfigurationError, match="is not a safetensors file"):
        load_weights(Network(), saved)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"checkpoint w.safetensors does not exist; train the model first"
    ):
        load_weights(Network(), tmp_path / "w.safetensors")
