"""`compress`, `compressor` and `report` on the small model as a ready graph: real data, real work."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from fcntl import LOCK_EX, flock
from pathlib import Path

import msgspec
import onnx
import pytest
from app.artifact import Manifest
from app.jobs import QUEUE_FILE, JobQueue
from app.store import LOCK_FILE

from tests.cli.at_work import Slimrank, at_work, cells, edit_card, versions
from tests.cli.conftest import Ran
from tests.compression.parts import graph_of, ready_model
from tests.processes import WAIT_SECONDS, children_of, environment, eventually
from tests.small_model import NAME, SmallModel

VARIANTS = ["baseline", "int8-dynamic", "int8-static"]


@pytest.fixture(scope="module")
def graph(small_model: SmallModel) -> onnx.ModelProto:
    return graph_of(small_model)


@pytest.fixture(scope="module")
def compressed(
    small_model: SmallModel, graph: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory
) -> SmallModel:
    """The small model as a ready graph, compressed once: for looking at, or to be copied."""
    model = ready_model(small_model, graph, tmp_path_factory.mktemp("compressed"))
    model.compress()
    return model


@pytest.fixture
def new(
    small_model: SmallModel, graph: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SmallModel:
    """The ready graph with nothing in the store."""
    return at_work(ready_model(small_model, graph, tmp_path), monkeypatch)


@pytest.fixture
def ready(compressed: SmallModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallModel:
    """A copy of the ready graph with its variants."""
    return at_work(compressed.copy(tmp_path), monkeypatch)


@pytest.mark.parametrize("command", ["train", "data", "compress", "report"])
def test_an_unknown_model_is_one_red_line(
    slimrank: Slimrank, new: SmallModel, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    ran = slimrank(command, "nobody")
    assert (ran.code, ran.out) == (2, "")
    assert re.fullmatch(r"error: .*'nobody'.*\n", ran.err)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert slimrank(command, "nobody").err.startswith("\x1b[31merror:\x1b[0m ")


def test_compress_says_what_became_of_each_variant(slimrank: Slimrank, new: SmallModel) -> None:
    ran = slimrank("compress", NAME)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert [line.split()[:2] for line in lines] == [[name, versions(new)[name]] for name in VARIANTS]
    assert re.search(r"\(made in \d+ s\): baseline, it is the fp32 graph", lines[0])
    assert re.search(r"\(made in \d+ s\): rejected, a score moves by up to", lines[1])
    assert re.search(r"\(made in \d+ s\): passed, it keeps at least \d+\.\d\d% of", lines[2])
    assert "clicks   0%  baseline: reading data" in ran.err
    assert ran.err.splitlines()[-1] == "clicks 100%  done"

    again = slimrank("compress", NAME)
    assert [line.replace("(up to date)", "") for line in again.out.splitlines()] == [
        re.sub(r"\(made in \d+ s\)", "", line) for line in lines
    ]


def test_compress_makes_named_recipes_and_one_roll_back_undoes_one_run(
    slimrank: Slimrank, ready: SmallModel
) -> None:
    first = versions(ready)
    ran = slimrank("compress", NAME, "--recipes", " int8-static ,int8-dynamic", "--force")
    assert ran.code == 0
    assert re.findall(r"^(\S+) .*(made|up to date)", ran.out, re.MULTILINE) == [
        ("baseline", "up to date"),
        ("int8-static", "made"),
        ("int8-dynamic", "made"),
    ]
    second = versions(ready)
    assert slimrank("compress", NAME, "--recipes", "int8-static", "--force").code == 0
    assert ready.store.roll_back(NAME).state.versions == second
    assert ready.store.roll_back(NAME).state.versions == first


def test_compress_is_refused_while_another_compressor_works(slimrank: Slimrank, ready: SmallModel) -> None:
    before = versions(ready)
    with JobQueue(ready.store_folder / QUEUE_FILE).sole_compressor() as alone:
        assert alone
        ran = slimrank("compress", NAME, "--force")
    assert ran == Ran(1, "", "error: a compressor is at work on this store; see `slimrank jobs list`\n")
    assert versions(ready) == before
    assert slimrank("compress", NAME).code == 0


def test_compress_refuses_a_wrong_recipe_before_anything_is_made(
    slimrank: Slimrank, ready: SmallModel
) -> None:
    ran = slimrank("compress", NAME, "--recipes", "int9")
    assert ran == Ran(
        2, "", "error: model 'clicks' has no recipe 'int9'; it has: int8-dynamic, int8-static\n"
    )
    edit_card(ready, "rows = 500", "rows = 500, mood = 1")
    wrong = "recipe 'int8-static', step 1 (quantize_static): mood: Extra inputs are not permitted"
    assert slimrank("compress", NAME, "--force") == Ran(2, "", f"error: {wrong}\n")


def test_compress_names_what_could_not_be_made(slimrank: Slimrank, new: SmallModel) -> None:
    # After the first step there is nothing left to quantize.
    edit_card(
        new, '{ technique = "quantize_dynamic" }', ", ".join(['{ technique = "quantize_dynamic" }'] * 2)
    )
    ran = slimrank("compress", NAME)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines()[-1] == (
        "error: 1 of 3 variants could not be made: int8-dynamic: quantize_dynamic: the graph has no dense layer to "
        "quantize besides the last one"
    )
    assert sorted(versions(new)) == ["baseline", "int8-static"]


def test_report_shows_every_variant_and_why(slimrank: Slimrank, ready: SmallModel) -> None:
    ran = slimrank("report", NAME)
    assert ran.code == 0
    assert re.findall(r"^│ (baseline|int8-\w+) ", ran.out, re.MULTILINE) == VARIANTS
    rows = {name: cells(ran.out, name) for name in VARIANTS}
    assert (rows["baseline"][1], rows["baseline"][4]) == ("1.0x", "1.000")
    assert [rows[name][-1] for name in VARIANTS] == ["baseline", "rejected", "passed"]
    for size, ratio, auc, ndcg, overlap, one, hundred, thousand, _ in rows.values():
        assert re.fullmatch(r"[\d.]+ [kM]B", size)
        assert re.fullmatch(r"\d\.\dx", ratio)
        assert re.fullmatch(r"0\.\d{4} \[0\.\d{4}, 0\.\d{4}\]", auc)
        assert re.fullmatch(r"0\.\d{4}", ndcg)
        assert 0 <= float(overlap) <= 1
        assert re.fullmatch(r"[\d.]+ / [\d.]+", one)
        assert re.fullmatch(r"[\d.]+ / [\d.]+", hundred)
        assert thousand == "-", "this card does not time it"
    assert re.search(
        r"^int8-dynamic: rejected, a score moves by up to .* allows 1\.0e-04$", ran.out, re.MULTILINE
    )
    assert re.search(r"^int8-static: passed, it keeps .* candidates$", ran.out, re.MULTILINE)
    assert "measured on " in ran.out


def test_report_on_a_narrow_terminal_cuts_nothing_off(
    slimrank: Slimrank, ready: SmallModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ran = slimrank("report", NAME)
    assert "…" not in ran.out
    (heads,) = re.findall(r"^┃variant.*$", ran.out, re.MULTILINE)
    assert re.findall(r"[\w-]+", heads) == ["variant", *VARIANTS]
    (ratios,) = re.findall(r"^│ratio.*$", ran.out, re.MULTILINE)
    assert len(re.findall(r"\d\.\dx", ratios)) == len(VARIANTS)


def test_report_as_json_is_everything_that_was_measured(slimrank: Slimrank, ready: SmallModel) -> None:
    ran = slimrank("report", NAME, "--json")
    assert ran.code == 0
    found = json.loads(ran.out)
    assert list(found) == VARIANTS
    for variant, version in versions(ready).items():
        manifest = msgspec.convert(found[variant]["manifest"], Manifest)
        assert manifest == ready.store.manifest(NAME, variant, version)
        folder = ready.store.folder(NAME, variant, version)
        assert found[variant]["report"] == json.loads((folder / "report.json").read_text())


def test_report_of_a_model_that_was_not_compressed(slimrank: Slimrank, new: SmallModel) -> None:
    ran = slimrank("report", NAME)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "error: nothing of a model 'clicks' is in the store; `slimrank compress clicks` makes it\n"
    )
    assert not new.store_folder.exists()


@pytest.fixture
def compressor(new: SmallModel, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """`slimrank compressor` in a process of its own, on a model that was never compressed."""
    folders = {"store": new.store_folder, "models": new.models, "cache": new.cache}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli.main", "compressor"],
            env=environment(**folders, compressor_nice=0, compressor_idle=False),
            stderr=log,
            text=True,
        )
    yield process
    process.kill()
    process.wait(WAIT_SECONDS)


def test_compressor_makes_what_is_not_up_to_date_until_it_is_stopped(
    new: SmallModel, compressor: "subprocess.Popen[str]"
) -> None:
    queue = JobQueue(new.store_folder / QUEUE_FILE)
    eventually(lambda: queue.counts()["succeeded"] == 1, "the model is compressed")
    assert sorted(versions(new)) == VARIANTS
    with (new.store_folder / NAME / LOCK_FILE).open("w") as lock:
        flock(lock, LOCK_EX)  # a job that has something to activate waits for it, and so is under way
        queue.submit(NAME, recipes=["int8-static"], force=True)
        eventually(lambda: queue.counts()["running"] == 1, "a new job is taken up")
        (child,) = children_of(compressor.pid)
        compressor.terminate()
        assert compressor.wait(WAIT_SECONDS) == 0
    assert not Path(f"/proc/{child}").exists()
    (job, _) = queue.jobs()
    assert (job.state, job.attempts) == ("queued", 0), "a stop is not the job's fault"


def test_compressor_is_refused_for_wrong_cards(slimrank: Slimrank, new: SmallModel) -> None:
    edit_card(new, "auc = 0.9", "auc = 9")
    ran = slimrank("compressor")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "error: clicks/model.toml: budget.auc: Input should be less than or equal to 1\n"
    assert slimrank("compressor", "--models", new.models / "none").code == 2
