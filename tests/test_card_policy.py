"""The card's policy as far as it can serve: what is not there and what was rejected is left out, and said."""

from pathlib import Path

import pytest
from app.active import Canary, Policy, Shadow, State
from app.artifact import GRAPH_FILE, MANIFEST_FILE, Manifest
from app.card_policy import with_card_policy
from app.model_card import ModelCard, read_card
from app.report import Verdict
from app.store import ArtifactStore

CARD = """
name = "tiny"
source = { kind = "onnx" }
schema.features = [{ name = "item_id", side = "item", kind = "categorical" }]
recipes = [
    { name = "int8", steps = [{ technique = "quantize_dynamic" }] },
    { name = "bad", steps = [{ technique = "quantize_dynamic" }] },
]
"""
OUTCOMES = {"baseline": "baseline", "int8": "passed", "bad": "rejected"}


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


@pytest.fixture
def versions(store: ArtifactStore) -> dict[str, str]:
    found = {}
    for variant, outcome in OUTCOMES.items():
        with store.staged() as folder:
            (folder / GRAPH_FILE).write_bytes(variant.encode())
            verdict = Verdict(outcome, "because")  # type: ignore[arg-type]
            manifest = Manifest(model="tiny", variant=variant, inputs_sha256="0" * 64, verdict=verdict)
            found[variant] = store.publish(folder, manifest).version
    return found


def a_card(folder: Path, policy: str) -> ModelCard:
    home = folder / "tiny"
    home.mkdir(exist_ok=True)
    (home / "model.toml").write_text(CARD + policy)
    return read_card(home)


EVERYTHING = """
[policy]
kind = "pinned"
variant = "int8"
canary = { variant = "bad", percent = 5 }
shadow = { variant = "baseline", percent = 0.5 }
"""


def test_each_part_serves_as_soon_as_it_can(
    store: ArtifactStore, versions: dict[str, str], tmp_path: Path
) -> None:
    card = a_card(tmp_path, EVERYTHING)
    shadow = Shadow("baseline", 0.5)
    nothing, left_out = with_card_policy(State(), card, store)
    assert nothing == State()
    assert [one.partition(" is left out: ")[2] for one in left_out] == ["it is not active yet"] * 3
    first, _ = with_card_policy(State({"baseline": versions["baseline"]}, origin="a job"), card, store)
    assert (first.policy, first.policy_set_by) == (Policy(shadow=shadow), "card")
    assert first.origin == "a job"
    last, left_out = with_card_policy(State(versions), card, store)
    assert last.policy == Policy("pinned", "int8", shadow=shadow)
    assert left_out == ["the card's policy: canary 'bad' is left out: it was rejected"]


def test_a_rejected_variant_may_be_a_shadow_and_answers_nobody(
    store: ArtifactStore, versions: dict[str, str], tmp_path: Path
) -> None:
    shadow = 'shadow = { variant = "bad", percent = 1 }'
    card = a_card(tmp_path, f'[policy]\nkind = "pinned"\nvariant = "int8"\n{shadow}\n')
    followed, left_out = with_card_policy(State(versions), card, store)
    assert (followed.policy, left_out) == (Policy("pinned", "int8", shadow=Shadow("bad", 1)), [])
    pinned = a_card(tmp_path, '[policy]\nkind = "pinned"\nvariant = "bad"\n')
    assert with_card_policy(State(versions), pinned, store)[0].policy == Policy()


def test_an_admins_policy_stays(store: ArtifactStore, versions: dict[str, str], tmp_path: Path) -> None:
    card = a_card(tmp_path, EVERYTHING)
    for state in (
        State(versions, Policy(), "a", "admin"),
        State(versions, Policy(canary=Canary("int8", 1)), "a", "admin"),
        State(versions, Policy("pinned", "baseline"), "from before it was noted"),
    ):
        assert with_card_policy(state, card, store) == (state, [])


def test_another_card_takes_the_place_of_the_one_before(
    store: ArtifactStore, versions: dict[str, str], tmp_path: Path
) -> None:
    followed, _ = with_card_policy(State(versions), a_card(tmp_path, EVERYTHING), store)
    plain, _ = with_card_policy(followed, a_card(tmp_path, ""), store)
    assert plain == State(versions)


def test_a_damaged_variant_stops_nothing(
    store: ArtifactStore, versions: dict[str, str], tmp_path: Path
) -> None:
    (store.folder("tiny", "int8", versions["int8"]) / MANIFEST_FILE).write_text("{}")
    followed, left_out = with_card_policy(State(versions), a_card(tmp_path, EVERYTHING), store)
    assert followed.policy == Policy(shadow=Shadow("baseline", 0.5))
    assert "the manifest cannot be read" in left_out[0]
