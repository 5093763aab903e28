"""The exported questions are those that evaluation asks: outside, the same answers come out."""

from pathlib import Path

import numpy as np
import pytest
from app.compression.evaluate import Evaluation
from app.compression.questions import export_questions
from app.compression.scorer import Scorer
from app.encoding import Array
from app.training.rows import Prepared

from tests.compression.parts import scorer_of

Files = dict[str, dict[str, Array]]


@pytest.fixture
def files(prepared: Prepared, tmp_path: Path) -> Files:
    return read(export_questions(prepared, tmp_path / "new" / "folder"))


@pytest.fixture
def baseline(graph: object, tmp_path: Path) -> Scorer:
    return scorer_of(graph, tmp_path / "baseline")  # type: ignore[arg-type]


def read(paths: list[Path]) -> Files:
    found = {}
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            found[path.stem] = dict(file)
    return found


def part(arrays: dict[str, Array], prefix: str) -> dict[str, Array]:
    return {name.partition(".")[2]: one for name, one in arrays.items() if name.startswith(f"{prefix}.")}


def test_every_split_has_its_rows_and_labels(files: Files, prepared: Prepared) -> None:
    assert list(files) == ["train", "validation", "test", "lists"]
    for name in ("train", "validation", "test"):
        rows = getattr(prepared, name)
        np.testing.assert_array_equal(files[name]["label"], rows.labels)
        inputs = rows.inputs(np.arange(len(rows)))
        assert part(files[name], "input").keys() == inputs.keys()
        for feature, values in part(files[name], "input").items():
            np.testing.assert_array_equal(values, inputs[feature])


def test_rows_and_lists_have_the_scores_that_evaluation_sees(
    files: Files, prepared: Prepared, baseline: Scorer
) -> None:
    wanted = Evaluation(prepared, baseline).baseline
    rows = part(files["test"], "input")
    scores = baseline.run(rows, np.arange(len(files["test"]["label"])))
    np.testing.assert_allclose(scores, wanted.rows, atol=1e-6)
    items, requests = part(files["lists"], "item"), part(files["lists"], "request")
    for position in (0, len(wanted.lists) - 1):
        feed = {name: values[position : position + 1] for name, values in requests.items()}
        feed |= {name: values[position] for name, values in items.items()}
        scores = baseline.run(feed, np.zeros(wanted.lists.shape[1], dtype=np.int64))
        np.testing.assert_allclose(scores, wanted.lists[position], atol=1e-6)


def test_what_evaluation_leaves_out_is_left_out(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.compression.evaluate.MAX_ROWS", 50)
    found = read(export_questions(prepared, tmp_path))
    assert len(found["test"]["label"]) == 50
    assert len(found["train"]["label"]) == len(prepared.train)
