"""The comparison with other compression tools: what it measures is what Slimrank measures, and who dominates whom."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app.artifact import ITEMS_GRAPH_FILE, REST_GRAPH_FILE, read_report
from app.cli.main import app as slimrank
from app.training import metrics
from hypothesis import given
from hypothesis import strategies as st
from loadtest.compression import calibration
from loadtest.compression.measure import Bench
from loadtest.compression.questions import Questions, auc, load, ndcg, part
from loadtest.compression.report import comparison_table, dominates, front
from loadtest.compression.tool import known_tools
from typer.testing import CliRunner

from tests.small_model import NAME, SmallModel

_PARTS = (ITEMS_GRAPH_FILE, REST_GRAPH_FILE)


@pytest.fixture(scope="module")
def questions(small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model's rows and lists, as the command exports them."""
    folder = tmp_path_factory.mktemp("questions")
    places = ["--models", str(small_model.models), "--cache", str(small_model.cache)]
    ran = CliRunner().invoke(slimrank, ["data", NAME, "--export", str(folder), *places])
    assert ran.exit_code == 0, ran.output
    return folder


@pytest.fixture(scope="module")
def material(small_model: SmallModel, questions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a tool is given."""
    folder = tmp_path_factory.mktemp("material")
    for path in variant(small_model, "baseline").glob("model.onnx*"):
        (folder / path.name).write_bytes(path.read_bytes())
    calibration.draw(part(load(questions / "train.npz"), "input"), folder)
    return folder


@pytest.fixture(scope="module")
def bench(material: Path, questions: Path) -> Bench:
    return Bench(material, Questions.read(questions), samples=30)


def variant(small: SmallModel, name: str) -> Path:
    store = small.store
    return store.folder(NAME, name, store.active(NAME).state.versions[name])


@pytest.mark.parametrize("name", ["baseline", "int8-dynamic", "int8-static"])
def test_a_variant_measures_as_its_own_report_says(small_model: SmallModel, bench: Bench, name: str) -> None:
    folder = variant(small_model, name)
    report = read_report(folder)
    found = bench.measure(folder)
    assert report.quality is not None
    assert report.quality.ndcg_at_10 is not None
    assert report.agreement is not None
    assert found["auc"] == pytest.approx(report.quality.auc.value, abs=1e-9)
    assert found["auc_kept"] == pytest.approx(report.quality.auc_ratio.value, abs=1e-9)
    assert found["ndcg_at_10"] == pytest.approx(report.quality.ndcg_at_10.value, abs=1e-9)
    assert found["distinct_score_ratio"] == report.agreement.distinct_score_ratio
    assert found["batch_difference"] == pytest.approx(report.agreement.batch_difference, abs=1e-9)
    parts = sum((folder / part).stat().st_size for part in _PARTS if (folder / part).exists())
    assert found["bytes"] + parts == report.size.artifact_bytes, "no other tool's graph has parts"
    assert [one["candidates"] for one in found["latency"]] == [1, 100, 1000]


def test_a_graph_that_cannot_be_loaded_is_a_failure_in_its_own_words(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    found = bench.measure(tmp_path)
    assert list(found) == ["failure"]
    assert str(tmp_path) not in found["failure"]


@pytest.mark.parametrize("setting", ["dynamic", "static"])
def test_a_tool_compresses_in_a_process_of_its_own(
    bench: Bench, material: Path, tmp_path: Path, setting: str
) -> None:
    tool = known_tools()["onnxruntime"]
    ran = tool.run(setting, material, tmp_path)
    assert ran.keys() == {"seconds"}, ran
    found = bench.measure(tmp_path)
    assert found["smaller"] > 1
    assert found["auc_kept"] > 0.9


def test_a_tool_that_fails_is_quoted(tmp_path: Path) -> None:
    ran = known_tools()["onnxruntime"].run("dynamic", tmp_path, tmp_path)
    assert "model.onnx" in ran["failure"]
    assert "\n" not in ran["failure"]


def test_every_tool_says_what_is_asked_of_it_and_pins_its_versions() -> None:
    tools = known_tools()
    assert {"onnxruntime", "olive", "nncf", "neural_compressor", "onnx_neural_compressor"} == tools.keys()
    for tool in tools.values():
        assert tool.settings
        assert all("==" in one for one in tool.requirements)
    assert tools["onnxruntime"].versions().keys() == {"onnxruntime", "onnx"}


def test_calibration_rows_are_training_rows_in_runs_of_equal_size(material: Path, questions: Path) -> None:
    found = list(calibration.feeds(material))
    train = part(load(questions / "train.npz"), "input")
    assert {len(one["row_request"]) for one in found} == {calibration.ROWS_PER_RUN}
    assert sum(len(one["row_request"]) for one in found) == calibration.ROWS
    drawn = np.concatenate([one["user_id"] for one in found])
    assert set(drawn.tolist()) <= set(train["user_id"].tolist())
    reader = calibration.Reader(material)
    first = reader.get_next()
    reader.rewind()
    again = reader.get_next()
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first["item_id"], again["item_id"])


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=60))
def test_the_figures_are_those_of_the_application(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([one for one, _ in pairs], dtype=np.float32)
    labels = np.array([label for _, label in pairs], dtype=np.float32)
    if len(set(labels.tolist())) == 2:
        assert auc(labels, scores) == pytest.approx(metrics.auc(labels, scores))
    lists = np.stack([scores, scores[::-1]])
    assert ndcg(lists) == pytest.approx(metrics.ndcg_of_rank(metrics.rank_of_first(lists)).mean())


def made(tool: str, setting: str, size: int, speedup: float, value: float, **others: Any) -> dict[str, Any]:
    latency = [{"candidates": n, "p50_ms": 1.0, "speedup": speedup} for n in (1, 100, 1000)]
    figures = {
        "auc_kept": value / 0.8,
        "ndcg_at_10": 0.2,
        "distinct_score_ratio": 1.0,
        "batch_difference": 0.0,
    }
    one = {
        "tool": tool,
        "setting": setting,
        "how": "somehow",
        "bytes": size,
        "smaller": 100 / size,
        "auc": value,
    }
    return one | figures | {"latency": latency} | others


BASELINE = made("slimrank", "baseline", 100, 1.0, 0.8)
SMALL = made("slimrank", "small", 10, 9.0, 0.8)
TIED = made("x", "tied", 50, 9.5, 0.8, distinct_score_ratio=0.1)
WORSE = made("x", "worse", 10, 9.0, 0.79)


def test_to_dominate_is_to_be_no_worse_in_anything_and_better_in_something() -> None:
    assert dominates(SMALL, BASELINE)
    assert not dominates(BASELINE, SMALL)
    assert not dominates(SMALL, SMALL)
    assert dominates(SMALL, WORSE)
    assert front([BASELINE, SMALL, TIED, WORSE]) == [SMALL, TIED]


def a_result(*results: dict[str, Any]) -> dict[str, Any]:
    machine = {
        "cores": 2,
        "processor": "P",
        "flags": ["avx2"],
        "versions": {"onnxruntime": "1"},
        "commit": "c",
    }
    counts = {"calibration_rows": 2048, "test_rows": 10_000, "lists": 900, "samples": 30}
    versions = {"x": {"x-lib": "2.0"}}
    machine |= {"at": "2026-01-01"}
    return {"model": "m", "machine": machine, "versions": versions, "results": list(results)} | counts


def test_the_table_tells_the_front_what_would_serve_and_what_failed() -> None:
    failed = {"tool": "y", "setting": "z", "how": "by y", "failure": "KeyError: 'q'", "note": "a note"}
    table = comparison_table(a_result(BASELINE, SMALL, TIED, WORSE, failed))
    (tied,) = (line for line in table.splitlines() if "`tied`" in line)
    assert tied.endswith("| 9.5x | no | yes |")
    assert (
        "Our best, `small`, is dominated by nothing of the 2 results of other tools, and dominates 1" in table
    )
    assert "0 of the 2 would serve" in table
    assert "- y, z (by y): `KeyError: 'q'`" in table
    assert "y: a note." in table
    assert "x-lib 2.0" in table


def test_the_table_says_so_when_ours_is_dominated() -> None:
    table = comparison_table(a_result(BASELINE, SMALL, made("x", "better", 9, 9.0, 0.8)))
    assert "is dominated by x (better) of the 1" in table
