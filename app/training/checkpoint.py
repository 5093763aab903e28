"""Weights on disk, in safetensors: no code is run when they are read."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from app.errors import ConfigurationError

_ENCODER = "encoder_sha256"


def save_weights(module: nn.Module, path: Path, encoder_sha256: str) -> None:
    """Write every parameter and buffer, and the encoder that they belong to; equal weights give equal bytes."""
    # A weight that a module uses twice is written under both names; safetensors refuses memory that is shared.
    weights = {name: value.detach().clone().contiguous() for name, value in module.state_dict().items()}
    # One entry and no more: safetensors writes several in another order each time.
    save_file(weights, path, {_ENCODER: encoder_sha256})


def load_weights(module: nn.Module, path: Path) -> str | None:
    """Fill `module` from a safetensors file; gives the sha256 of the weights' encoder, where the file names one.

    Raises ConfigurationError when the file is absent or damaged, or its names or shapes are not the module's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            encoder_sha256: str | None = (file.metadata() or {}).get(_ENCODER)
    except FileNotFoundError:
        raise ConfigurationError(
            f"the checkpoint {path.name} does not exist; train the model first"
        ) from None
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(f"the checkpoint {path.name} is not a safetensors file: {error}") from error
    own = module.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        if name not in weights:
            raise ConfigurationError(f"the checkpoint {path.name} has no {name!r}, which the model needs")
        if name not in own:
            raise ConfigurationError(
                f"the checkpoint {path.name} has {name!r}, which the model does not have"
            )
        if own[name].shape != weights[name].shape:
            found, wanted = list(weights[name].shape), list(own[name].shape)
            raise ConfigurationError(
                f"the checkpoint {path.name}: {name!r} is {found}, and the model's is {wanted}"
            )
    module.load_state_dict(weights)
    return encoder_sha256
