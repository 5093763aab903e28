"""From a card to files in the model's folder."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from app.encoding import Encoder
from app.errors import ConfigurationError
from app.training.data.source import Place
from app.training.fit import predict
from app.training.metrics import auc
from app.training.source import load_module
from app.training.train import Trained, prepare_data, save, train, training_config
from safetensors import SafetensorError, safe_open

from tests.training.lessons import click_card, silent

NOWHERE = Place(Path("no-folder-is-needed"), Path("no-folder-is-needed"))
ONE_EPOCH = {"epochs": 1, "batch_size": 256, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def trained() -> Trained:
    """It is shared: do not change it."""
    return train(click_card(), NOWHERE, silent)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """As if the disk were full: a write beyond `size` bytes fails."""
    _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_training_finds_what_decides_a_click(trained: Trained) -> None:
    test = trained.prepared.test
    reached = auc(test.labels, predict(trained.module, test))
    best = auc(
        test.labels,
        trained.prepared.dataset.interactions["true_probability"].to_numpy()[trained.prepared.split.test],
    )
    assert 0.7 < reached < best + 0.02
    assert trained.fit.validation_auc[trained.fit.best_epoch - 1] == max(trained.fit.validation_auc)


def test_equal_cards_give_equal_files(tmp_path: Path, trained: Trained) -> None:
    for name, one in (("one", trained), ("again", train(click_card(), NOWHERE, silent))):
        (tmp_path / name).mkdir()
        save(one, click_card(), tmp_path / name)
    assert files(tmp_path / "one") == files(tmp_path / "again")
    assert set(files(tmp_path / "one")) == {"encoder.json", "checkpoint.safetensors"}


def test_another_seed_gives_other_weights(trained: Trained) -> None:
    other = train(click_card(training=ONE_EPOCH | {"seed": 1}), NOWHERE, silent)
    assert other.encoder.sha256 == trained.encoder.sha256
    assert not torch.equal(
        other.module.state_dict()["head.weight"], trained.module.state_dict()["head.weight"]
    )


def test_what_is_saved_is_loaded(tmp_path: Path, trained: Trained) -> None:
    paths = save(trained, click_card(), tmp_path)
    assert paths == [tmp_path / "encoder.json", tmp_path / "checkpoint.safetensors"]
    module, encoder = load_module(click_card(), tmp_path)
    rows = trained.prepared.validation
    assert encoder.sha256 == trained.encoder.sha256
    np.testing.assert_array_equal(predict(module, rows), predict(trained.module, rows))
    with safe_open(paths[1], framework="pt") as file:
        assert file.metadata() == {"encoder_sha256": encoder.sha256}


@pytest.mark.parametrize("failing", ["encoder.json", "checkpoint.safetensors"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, trained: Trained, failing: str) -> None:
    save(trained, click_card(), tmp_path)
    old = files(tmp_path)
    other = Encoder(
        trained.encoder.schema,
        trained.encoder.vocabularies | {"user_id": trained.encoder.vocabularies["user_id"][::-1]},
        trained.encoder.scales,
    )
    limit = 10 if failing == "encoder.json" else len(other.to_json())
    assert limit < len(old[failing])
    with pytest.raises((OSError, SafetensorError)), no_file_above(limit):
        save(replace(trained, encoder=other), click_card(), tmp_path)
    assert set(files(tmp_path)) == set(old), "nothing half written is left"
    assert files(tmp_path)[failing] == old[failing]


def test_new_ids_beside_old_weights_are_noticed(tmp_path: Path, trained: Trained) -> None:
    """The encoder was replaced and the checkpoint could not be."""
    other = Encoder(
        trained.encoder.schema,
        trained.encoder.vocabularies | {"user_id": trained.encoder.vocabularies["user_id"][::-1]},
        trained.encoder.scales,
    )
    save(trained, click_card(), tmp_path)
    with pytest.raises((OSError, SafetensorError)), no_file_above(len(other.to_json())):
        save(replace(trained, encoder=other), click_card(), tmp_path)
    with pytest.raises(ConfigurationError, match="was trained with another encoder"):
        load_module(click_card(), tmp_path)


def test_a_given_encoder_is_not_fitted_again(trained: Trained) -> None:
    few = Encoder(
        trained.encoder.schema, trained.encoder.vocabularies | {"user_id": ["u1"]}, trained.encoder.scales
    )
    prepared = prepare_data(click_card(), NOWHERE, few)
    assert prepared.encoder is few
    assert set(prepared.train.users["user_id"].tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("training", "why"),
    [
        ({"epoch": 3}, r"\[training\]: epoch: Extra inputs are not permitted"),
        (
            {"epochs": 0, "id_dropout": 1},
            r"\[training\]: epochs: .*greater than or equal to 1; id_dropout: .*less",
        ),
        ({"learning_rate": "fast"}, r"\[training\]: learning_rate: "),
    ],
)
def test_a_wrong_training_table_is_named(training: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        training_config(click_card(training=training))
    with pytest.raises(ConfigurationError, match=why):
        train(click_card(training=training), NOWHERE, silent)


def test_a_ready_graph_cannot_be_trained() -> None:
    with pytest.raises(ConfigurationError, match="clicks: a ready ONNX graph cannot be trained"):
        train(click_card(source={"kind": "onnx"}), NOWHERE, silent)


def test_a_card_without_data_cannot_be_trained() -> None:
    with pytest.raises(ConfigurationError, match=r"clicks: the model card has no \[data\]"):
        train(click_card(data=None), NOWHERE, silent)
