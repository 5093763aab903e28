"""From a model's folder to published variants: what is made, what is used again, and what one failure leaves alone."""

from pathlib import Path
from typing import Any

import onnx
import pytest
from app.artifact import GRAPH_DATA_FILE, GRAPH_FILE, REPORT_FILE, verify
from app.compression.pipeline import compress
from app.compression.site import Outcome, Selection, Site
from app.errors import CompressionFailed, ConfigurationError, UnknownModel, UnknownRecipe
from app.fingerprint import stale_variants
from app.jobs import JobCancelled
from app.model_card import read_card
from app.store import STAGING

from tests.compression.parts import ignore, ready_model
from tests.small_model import NAME, SmallModel

ALL = ["baseline", "int8-dynamic", "int8-static"]


def run(model: SmallModel, progress: Any = ignore, **selection: Any) -> list[Outcome]:
    site = Site(model.models, model.store, model.cache, keep_versions=selection.pop("keep", 2))
    return compress(NAME, Selection(**selection), site, progress)


def change_card(model: SmallModel, old: str, new: str) -> None:
    path = model.models / NAME / "model.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def add_recipe(model: SmallModel, name: str, *steps: str) -> None:
    path = model.models / NAME / "model.toml"
    path.write_text(path.read_text() + f'[[recipes]]\nname = "{name}"\nsteps = [{", ".join(steps)}]\n')


def everything(model: SmallModel) -> dict[str, tuple[int, int]]:
    """Every file of the store, with its inode and when it was written; locks and empty folders aside."""
    files = (path for path in model.store_folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def versions(model: SmallModel) -> dict[str, str]:
    return model.store.active(NAME).state.versions


def stale(model: SmallModel) -> list[str]:
    folder = model.models / NAME
    return stale_variants(read_card(folder), folder, model.store)


def test_the_first_run_makes_everything_and_tells_what_became_of_it(compressed: SmallModel) -> None:
    assert sorted(versions(compressed)) == ALL
    assert stale(compressed) == []
    outcomes = run(compressed)
    assert [(one.variant, one.outcome) for one in outcomes] == [
        ("baseline", "baseline"),
        ("int8-dynamic", "rejected"),
        ("int8-static", "passed"),
    ]
    assert {one.variant: one.version for one in outcomes} == versions(compressed)
    assert "batched with" in outcomes[1].reason
    assert outcomes[2].reason.startswith("it keeps at least 9")


def test_a_second_run_uses_everything_again(ready: SmallModel) -> None:
    before = everything(ready)
    told: list[float] = []
    outcomes = run(ready, lambda done, what: told.append(done), origin="another")
    assert [one.reused for one in outcomes] == [True] * 3
    assert everything(ready) == before
    assert told == [1.0]


def test_force_makes_everything_again_with_equal_graphs(ready: SmallModel) -> None:
    before = versions(ready)
    outcomes = run(ready, force=True)
    assert [one.reused for one in outcomes] == [False] * 3
    after = versions(ready)
    assert {name for name in ALL if after[name] == before[name]} == set()
    for variant in ALL:
        old, new = (ready.store.folder(NAME, variant, one[variant]) for one in (before, after))
        for file in (GRAPH_FILE, GRAPH_DATA_FILE):
            assert (old / file).read_bytes() == (new / file).read_bytes()


def test_named_recipes_alone_are_made_and_the_baseline_is_used_again(ready: SmallModel) -> None:
    before = versions(ready)
    outcomes = run(ready, recipes=["int8-static", "baseline", "int8-static"], force=True)
    assert [(one.variant, one.reused) for one in outcomes] == [("baseline", True), ("int8-static", False)]
    after = versions(ready)
    assert {name for name in ALL if after[name] != before[name]} == {"int8-static"}


def test_a_recipe_that_the_card_does_not_have_can_be_given(ready: SmallModel) -> None:
    recipe = {"name": "mine", "steps": [{"technique": "quantize_static", "rows": 64}]}
    first, second = run(ready, recipe=recipe)[1], run(ready, recipe=recipe)[1]
    assert (first.variant, first.reused, second.reused) == ("mine", False, True)
    assert versions(ready)["mine"] == first.version
    assert set(versions(ready)) == {*ALL, "mine"}


@pytest.mark.parametrize(
    ("selection", "error", "message"),
    [
        ({"recipes": ["int8-static", "int9"]}, UnknownRecipe, "has no recipe 'int9'; it has: int8-dynamic, "),
        ({"recipe": {"name": "mine"}}, ConfigurationError, "^the recipe: steps: Field required"),
        (
            {"recipe": {"name": "baseline", "steps": [{"technique": "distill"}]}},
            ConfigurationError,
            "may not",
        ),
        (
            {"recipe": {"name": "../../etc", "steps": [{"technique": "x"}]}},
            ConfigurationError,
            "name: String",
        ),
        (
            {"recipe": {"name": "a", "steps": [{"technique": "x"}]}},
            ConfigurationError,
            "there is no technique",
        ),
        (
            {"recipe": {"name": "a", "steps": [{"technique": ["x"]}]}},
            ConfigurationError,
            "missing or not text",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(
    ready: SmallModel, selection: dict[str, Any], error: type[Exception], message: str
) -> None:
    before = everything(ready)
    with pytest.raises(error, match=message):
        run(ready, **selection, force=True)
    assert everything(ready) == before


def test_an_unknown_model(ready: SmallModel) -> None:
    with pytest.raises(UnknownModel, match="there is no model 'nobody'"):
        compress("nobody", Selection(), Site(ready.models, ready.store, ready.cache), ignore)
    assert not (ready.store_folder / "nobody").exists()


def test_one_recipe_that_fails_leaves_the_others_published(small_model: SmallModel, tmp_path: Path) -> None:
    model = small_model.copy(tmp_path)
    add_recipe(
        model,
        "diverging",
        '{ technique = "distill", architecture = "dcn_v2", epochs = 1, learning_rate = 1e30 }',
    )
    add_recipe(model, "pruned", '{ technique = "prune_neurons", epochs = 1 }')
    with pytest.raises(CompressionFailed) as failed:
        run(model)
    assert failed.value.message.startswith("1 of 5 variants could not be made: diverging: ")
    assert set(versions(model)) == {*ALL, "pruned"}
    assert stale(model) == ["diverging"]
    assert list((model.store_folder / STAGING).iterdir()) == []


def test_how_far_a_step_is_can_be_seen(small_model: SmallModel, tmp_path: Path) -> None:
    model = small_model.copy(tmp_path)
    add_recipe(
        model, "pruned", '{ technique = "prune_neurons", epochs = 2 }', '{ technique = "quantize_dynamic" }'
    )
    told: list[tuple[float, str]] = []
    run(model, lambda *one: told.append(one), recipes=["pruned"])
    done, what = zip(*told, strict=True)
    assert list(done) == sorted(done)
    assert what[0] == "pruned: prune_neurons"
    assert [text.partition(": validation")[0] for text in what[3:5]] == ["pruned: epoch 1", "pruned: epoch 2"]
    assert what[5] == "pruned: quantize_dynamic"
    assert "scores would differ" in what[6], "a graph whose scores depend on the batch is not cut"
    assert what[7] == "pruned: evaluating"
    assert done[5] == pytest.approx((done[0] + done[7]) / 2), "each step has an equal share"


def test_the_seed_of_a_recipe_makes_another_variant(ready: SmallModel) -> None:
    graphs = []
    for seed in (0, 1, 0):
        recipe = {"name": "mine", "seed": seed, "steps": [{"technique": "quantize_static", "rows": 9}]}
        made = run(ready, recipe=recipe, force=True)[1]
        assert made.version is not None
        assert ready.store.manifest(NAME, "mine", made.version).seed == seed
        graphs.append((ready.store.folder(NAME, "mine", made.version) / GRAPH_FILE).read_bytes())
    assert graphs[0] == graphs[2] != graphs[1]


def test_the_baseline_is_active_before_the_variants_are_made(
    small_model: SmallModel, graph: onnx.ModelProto, tmp_path: Path
) -> None:
    model = ready_model(small_model, graph, tmp_path)
    told: list[tuple[float, str, list[str]]] = []
    run(model, lambda done, what: told.append((done, what, sorted(versions(model)))))
    active = {what.partition(":")[0]: served for _, what, served in told}
    assert active == {"baseline": [], "int8-dynamic": ALL[:1], "int8-static": ALL[:2], "done": ALL}
    done = [one for one, _, _ in told]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0.0, 1.0)


def test_a_cancelled_run_keeps_what_is_done_and_leaves_nothing_half_made(
    small_model: SmallModel, graph: onnx.ModelProto, tmp_path: Path
) -> None:
    model = ready_model(small_model, graph, tmp_path)

    def cancel(done: float, what: str) -> None:
        if what == "int8-static: timing 10 candidates":
            raise JobCancelled(what)

    with pytest.raises(JobCancelled):
        run(model, cancel)
    assert sorted(versions(model)) == ALL[:2]
    assert model.store.manifests(NAME, "int8-static") == []
    assert list((model.store_folder / STAGING).iterdir()) == []
    assert [one.reused for one in run(model)] == [True, True, False]


def test_a_changed_recipe_makes_its_variant_stale_and_a_changed_budget_all(ready: SmallModel) -> None:
    change_card(ready, "rows = 500", "rows = 400")
    assert stale(ready) == ["int8-static"]
    assert [one.reused for one in run(ready)] == [True, True, False]
    assert stale(ready) == []
    change_card(ready, "auc = 0.9", "auc = 0.99999\nbatch_difference = 1")
    assert stale(ready) == ALL
    assert [(one.reused, one.outcome) for one in run(ready)] == [
        (False, "baseline"),
        (False, "rejected"),
        (False, "rejected"),
    ]
    change_card(ready, 'title = "Synthetic clicks"', 'title = "Clicks"')
    assert stale(ready) == [], "what a model is called changes nothing"


def test_a_changed_graph_makes_everything_again(ready: SmallModel) -> None:
    weights = ready.models / NAME / "weights"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x00\x00\x80\x3f")
    assert stale(ready) == ALL
    assert [one.reused for one in run(ready)] == [False] * 3


def test_one_roll_back_undoes_one_run(ready: SmallModel) -> None:
    first = versions(ready)
    run(ready, force=True, origin="job 1")
    second = versions(ready)
    run(ready, recipes=["int8-static"], force=True, origin="job 2")
    assert {name for name in ALL if versions(ready)[name] != second[name]} == {"int8-static"}
    assert ready.store.roll_back(NAME).state.versions == second
    assert ready.store.roll_back(NAME).state.versions == first, "three variants, one step back"


def test_a_job_that_is_tried_again_is_one_run(ready: SmallModel) -> None:
    first = versions(ready)

    def die(done: float, what: str) -> None:
        if what.startswith("int8-static"):
            raise JobCancelled(what)

    with pytest.raises(JobCancelled):
        run(ready, die, force=True, origin="job 1")
    run(ready, force=True, origin="job 1")
    assert ready.store.roll_back(NAME).state.versions == first


def test_old_versions_are_collected_but_what_a_roll_back_needs_stays(ready: SmallModel) -> None:
    first = versions(ready)["int8-static"]
    made = []
    for _ in range(4):
        run(ready, recipes=["int8-static"], force=True, origin="job 1", keep=2)
        made.append(versions(ready)["int8-static"])
    left = [one.version for one in ready.store.manifests(NAME, "int8-static")]
    assert left == [made[3], made[2], first]
    assert ready.store.roll_back(NAME).state.versions["int8-static"] == first


def test_what_was_measured_is_in_the_store(compressed: SmallModel) -> None:
    for variant, version in versions(compressed).items():
        folder = compressed.store.folder(NAME, variant, version)
        assert (folder / REPORT_FILE).is_file()
        assert verify(folder).verdict is not None
