"""`train` and `data` on the small model's card."""

import re
from pathlib import Path

import pytest
from app.artifact import read_report
from app.model_card import read_card
from app.training.data.source import Place
from app.training.train import prepare_data

from tests.cli.at_work import Slimrank, at_work, cells, edit_card, files, versions
from tests.cli.conftest import Ran
from tests.compression.parts import READY_CARD
from tests.small_model import CARD, NAME, SmallModel


@pytest.fixture
def model(small_model: SmallModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallModel:
    """The small model's card alone: nothing is trained yet."""
    home = tmp_path / "models" / NAME
    home.mkdir(parents=True)
    (home / "model.toml").write_text(CARD)
    return at_work(SmallModel(tmp_path / "models", tmp_path / "store", small_model.cache), monkeypatch)


def test_training_writes_checkpoint_and_encoder_and_shows_the_quality(
    slimrank: Slimrank, model: SmallModel, small_model: SmallModel
) -> None:
    ran = slimrank("train", NAME)
    assert ran.code == 0
    written = files(model)
    assert set(written) == {"model.toml", "checkpoint.safetensors", "encoder.json"}
    for name in ("checkpoint.safetensors", "encoder.json"):
        assert f"{model.models / NAME / name} ({len(written[name]):,} bytes)" in ran.out
    published = small_model.store.folder(NAME, "baseline", versions(small_model)["baseline"])
    quality = read_report(published).quality
    assert quality is not None
    (auc,) = cells(ran.out, "test AUC")
    value, low, high = map(float, re.findall(r"0\.\d{4}", auc))
    assert low < value < high
    assert value == pytest.approx(quality.auc.value, abs=1e-3), (
        "but for the number of threads, it is the same"
    )
    assert cells(ran.out, "test rows") == ["600"]
    assert re.search(r"^bayes_optimal_auc: 0\.\d{4}$", ran.out, re.MULTILINE)
    assert re.fullmatch(r"[12] of 2, \d+ s", cells(ran.out, "best epoch")[0])
    assert re.search(r"clicks, seed 0 +50%  epoch 1: validation AUC 0\.\d{4}", ran.err)
    assert slimrank("train", NAME).code == 0
    assert files(model) == written, "equal seeds give equal files"


def test_several_seeds_write_nothing_and_show_their_mean(slimrank: Slimrank, model: SmallModel) -> None:
    edit_card(model, 'kind = "temporal"', 'kind = "random"')
    ran = slimrank("train", NAME, "--seeds", "1, 2")
    assert ran.code == 0
    assert set(files(model)) == {"model.toml"}
    found = [float(one) for one in re.findall(r"test AUC +│ (0\.\d{4})", ran.out)]
    assert len(set(found)) == 2
    (mean,) = re.findall(r"^mean test AUC of 2 seeds: (0\.\d{4})$", ran.out, re.MULTILINE)
    assert float(mean) == pytest.approx(sum(found) / 2, abs=1e-4)
    # A seed is that of the split, of the weights and of the order: a card with the same gives the same.
    edit_card(model, 'kind = "random"', 'kind = "random", seed = 2')
    edit_card(model, "epochs = 2", "epochs = 2\nseed = 2")
    assert cells(slimrank("train", NAME).out, "test AUC")[0].startswith(f"{found[1]:.4f} ")


@pytest.mark.parametrize(
    ("edit", "code", "message"),
    [
        (("epochs = 2", "epochs = 0"), 2, "[training]: epochs: Input should be greater than or equal to 1"),
        (("rate = 0.01", "rate = 1e30"), 1, "training diverged: the loss is not a number; lower"),
        (("users = 200", "users = 1"), 2, "[data.config] (synthetic): users: Input should be greater than"),
        (('"dcn_v2"', '"dcn_v9"'), 2, "there is no architecture 'dcn_v9'; there are: "),
    ],
)
def test_a_training_that_cannot_be_is_one_line_and_leaves_the_files_alone(
    slimrank: Slimrank, model: SmallModel, edit: tuple[str, str], code: int, message: str
) -> None:
    edit_card(model, *edit)
    (model.models / NAME / "encoder.json").write_text("an earlier one")
    before = files(model)
    ran = slimrank("train", NAME)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.splitlines()[-1].startswith(f"error: {message}")
    assert files(model) == before


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ("one,two", "--seeds: 'one,two' is not a list of numbers with commas between"),
        ("1,,2", "--seeds: '1,,2' is not a list of numbers with commas between"),
        ("-1", "[training]: seed: Input should be greater than or equal to 0"),
    ],
)
def test_seeds_that_are_none(slimrank: Slimrank, model: SmallModel, seeds: str, message: str) -> None:
    assert slimrank("train", NAME, "--seeds", seeds) == Ran(2, "", f"error: {message}\n")


def test_a_ready_graph_cannot_be_trained(slimrank: Slimrank, model: SmallModel) -> None:
    (model.models / NAME / "model.toml").write_text(READY_CARD)
    ran = slimrank("train", NAME)
    assert (ran.code, ran.err) == (2, "error: clicks: a ready ONNX graph cannot be trained\n")


def test_data_shows_the_split_the_features_and_what_the_source_knows(
    slimrank: Slimrank, model: SmallModel
) -> None:
    edit_card(
        model,
        'name = "price", side = "item"',
        'name = "price", description = "in [euro] or [/x]", side = "item"',
    )
    ran = slimrank("data", NAME)
    assert ran.code == 0
    folder = model.models / NAME
    prepared = prepare_data(read_card(folder), Place(model.cache, folder))
    for name in ("train", "validation", "test"):
        rows = getattr(prepared, name)
        users, items = len(set(rows.user_row)), len(set(rows.item_row))
        assert cells(ran.out, name) == [f"{len(rows):,}", str(users), str(items), f"{rows.labels.mean():.1%}"]
    assert cells(ran.out, "user_id")[2] == str(prepared.encoder.cardinality("user_id") - 1)
    assert cells(ran.out, "price")[-1] == "in [euro] or [/x]"
    assert re.search(r"^bayes_optimal_auc: 0\.\d{4}$", ran.out, re.MULTILINE)
    assert f"sha256 of the data: {prepared.dataset.sha256[:16]}" in ran.out
    assert set(files(model)) == {"model.toml"}


def test_data_writes_the_encoder_that_training_would_fit(
    slimrank: Slimrank, model: SmallModel, small_model: SmallModel
) -> None:
    ran = slimrank("data", NAME, "--write-encoder")
    assert ran.code == 0
    assert ran.out.endswith(f"wrote {model.models / NAME / 'encoder.json'}\n")
    assert files(model)["encoder.json"] == files(small_model)["encoder.json"]


def test_data_are_exported_with_the_encoder_of_the_weights(
    slimrank: Slimrank, model: SmallModel, small_model: SmallModel, tmp_path: Path
) -> None:
    folder = tmp_path / "rows"
    ran = slimrank("data", NAME, "--export", folder)
    assert ran.code == 2
    assert "encoder.json does not exist; `slimrank train clicks` or" in ran.err
    (model.models / NAME / "encoder.json").write_bytes(files(small_model)["encoder.json"])
    ran = slimrank("data", NAME, "--export", folder)
    assert ran.code == 0
    written = [folder / f"{name}.npz" for name in ("train", "validation", "test", "lists")]
    assert ran.out == "".join(f"wrote {one} ({one.stat().st_size:,} bytes)\n" for one in written)


def test_a_card_without_data_has_none_to_show(slimrank: Slimrank, model: SmallModel) -> None:
    path = model.models / NAME / "model.toml"
    path.write_text(re.sub(r"\[data\]\n.*?(?=\[budget\])", "", CARD, flags=re.DOTALL))
    for command in (["data", NAME], ["train", NAME, "--seeds", "1"]):
        ran = slimrank(*command)
        assert (ran.code, ran.err) == (2, "error: clicks: the model card has no [data]\n")
