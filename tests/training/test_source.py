"""From a model card to a module: architectures, entry points of the user's own, encoders and checkpoints."""

from pathlib import Path
from typing import Any

import pytest
import torch
from app.encoding import Encoder
from app.errors import ConfigurationError
from app.model_card import ModelCard
from app.training.checkpoint import save_weights
from app.training.export import export
from app.training.source import load_encoder, load_module, new_module
from safetensors.torch import save_file
from torch import nn

from tests.samples import FEATURES, an_encoder
from tests.training.inputs import requests_of, with_large_weights

RANKER = """
from torch import nn

class Ranker(nn.Module):
    title = "{title}"

    def __init__(self, encoder, width):
        super().__init__()
        self.table = nn.Embedding(encoder.cardinality("item_id"), width)

    def forward(self, inputs, row_request):
        return self.table(inputs["item_id"]).sum(dim=1)

def build(encoder, width=2):
    return Ranker(encoder, width)

number = 3
def build_number(encoder):
    return number
"""


def card(entry_point: str | None = "ranker:build", **source: Any) -> ModelCard:
    kind = {"kind": "entry_point", "entry_point": entry_point}
    if entry_point is None:
        kind = {"kind": "architecture", "architecture": "two_tower"}
    return ModelCard.model_validate(
        {"name": "tiny", "source": kind | source, "schema": {"features": FEATURES}}
    )


def write_model(folder: Path, code: str = RANKER.format(title="one")) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ranker.py").write_text(code)
    (folder / "encoder.json").write_bytes(an_encoder().to_json())
    return folder


def saved(card: ModelCard, folder: Path) -> nn.Module:
    """Random weights of that model, written as its checkpoint."""
    module = with_large_weights(new_module(card, folder, an_encoder(), seed=1))
    save_weights(module, folder / "checkpoint.safetensors", an_encoder().sha256)
    return module


@pytest.mark.parametrize("entry_point", ["ranker:build", None])
def test_the_trained_module_and_its_encoder(tmp_path: Path, entry_point: str | None) -> None:
    folder = write_model(tmp_path / "tiny")
    module = saved(card(entry_point), folder)
    loaded, encoder = load_module(card(entry_point), folder)
    requests = requests_of(encoder, [3, 1])
    assert not loaded.training
    assert encoder.sha256 == an_encoder().sha256
    assert requests.logits(loaded).tolist() == requests.logits(module).tolist()


@pytest.mark.parametrize("entry_point", ["ranker:build", None])
def test_new_weights_follow_the_seed(tmp_path: Path, entry_point: str | None) -> None:
    folder = write_model(tmp_path)
    one, same, other = (
        torch.cat(
            [p.flatten() for p in new_module(card(entry_point), folder, an_encoder(), seed).parameters()]
        )
        for seed in (5, 5, 6)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_settings_of_the_card_reach_the_entry_point(tmp_path: Path) -> None:
    module = new_module(card(config={"width": 7}), write_model(tmp_path), an_encoder(), 0)
    assert module.state_dict()["table.weight"].shape == (6, 7)


def test_a_package_with_parts_of_its_own(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "layers.py").write_text("from torch.nn import Embedding as Table\n")
    code = "from shop.layers import Table\n" + RANKER.format(title="shop").replace("nn.Embedding", "Table")
    (package / "ranker.py").write_text(code)
    module = new_module(card("shop.ranker:build"), tmp_path, an_encoder(), 0)
    assert module.title == "shop"


@pytest.mark.parametrize("relative", [False, True])
def test_two_models_with_a_module_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    titles = ["one", "another", "one"]
    for title in titles:
        write_model(tmp_path / title, RANKER.format(title=title))
    folders = [Path(title) if relative else tmp_path / title for title in titles]
    assert [new_module(card(), folder, an_encoder(), 0).title for folder in folders] == titles


def test_a_module_of_an_entry_point_can_be_exported(tmp_path: Path) -> None:
    """Its code is no longer importable by then."""
    module = new_module(card(), write_model(tmp_path), an_encoder(), 0)
    assert len(export(module, an_encoder()).graph.node) > 0


@pytest.mark.parametrize(
    ("entry_point", "config", "why"),
    [
        ("nowhere:build", {}, "entry point 'nowhere:build' cannot be loaded: No module named 'nowhere'"),
        ("ranker:missing", {}, "entry point 'ranker:missing' cannot be loaded: .*no attribute 'missing'"),
        ("ranker:number", {}, "entry point 'ranker:number' cannot be called: 'int' object is not callable"),
        ("ranker:build", {"depth": 1}, "cannot be called: .*unexpected keyword argument 'depth'"),
        ("ranker:build_number", {}, "entry point 'ranker:build_number' gave a int, not an nn.Module"),
    ],
)
def test_an_entry_point_that_does_not_fit(
    tmp_path: Path, entry_point: str, config: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        new_module(card(entry_point, config=config), write_model(tmp_path), an_encoder(), 0)


def test_a_module_that_imports_what_is_not_there(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "import not_installed_anywhere\n")
    with pytest.raises(
        ConfigurationError, match="cannot be loaded: No module named 'not_installed_anywhere'"
    ):
        new_module(card(), folder, an_encoder(), 0)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"architecture": "transformer"}, "there is no architecture 'transformer'; there are: dcn_v2, "),
        ({"config": {"depth": 3}}, "architecture 'two_tower': depth: Extra inputs are not permitted"),
        ({"config": {"hidden": [8, 0]}}, r"architecture 'two_tower': hidden.1: Input should be greater than"),
    ],
)
def test_an_architecture_that_does_not_fit(tmp_path: Path, source: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        new_module(card(None, **source), tmp_path, an_encoder(), 0)


def test_an_encoder_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"encoder.json does not exist; `slimrank train tiny` or"):
        load_encoder(card(), tmp_path)
    (tmp_path / "encoder.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"tiny: encoder.json: this is not an encoder"):
        load_encoder(card(), tmp_path)
    whole = ModelCard.model_validate(
        card().model_dump(by_alias=True) | {"schema": {"features": FEATURES[3:4]}}
    )
    (tmp_path / "encoder.json").write_bytes(an_encoder().to_json())
    with pytest.raises(ConfigurationError, match="was made for another schema than the card's"):
        load_encoder(whole, tmp_path)


def test_a_checkpoint_of_another_encoder_is_noticed(tmp_path: Path) -> None:
    """The same sizes, but every id has another row."""
    folder, encoder = write_model(tmp_path), an_encoder()
    saved(card(), folder)
    turned = encoder.vocabularies | {"item_id": encoder.vocabularies["item_id"][::-1]}
    other = Encoder(encoder.schema, turned, encoder.scales)
    (folder / "encoder.json").write_bytes(other.to_json())
    with pytest.raises(ConfigurationError, match=r"checkpoint.safetensors was trained with another encoder"):
        load_module(card(), folder)


def test_a_checkpoint_made_elsewhere_names_no_encoder(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    save_file(saved(card(), folder).state_dict(), folder / "checkpoint.safetensors")
    assert load_module(card(), folder)[0].title == "one"


def test_a_checkpoint_is_needed(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"checkpoint.safetensors does not exist; train the model first"
    ):
        load_module(card(), write_model(tmp_path))
