"""What Prometheus is told: values read back from the exposition, and no series that a client invents."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from app.jobs import QUEUE_FILE, JobQueue
from app.serving.metrics import STAGES, Metrics
from app.serving.observation import Observation
from app.serving.query import Ranking, Timing
from prometheus_client.parser import text_string_to_metric_families

from tests.serving.rungs import a_rung, ladder
from tests.serving.store_changes import Running, activate, damage, play, publish_again
from tests.small_model import NAME, SmallModel

Labels = dict[str, str]


@pytest.fixture
def queue(tmp_path: Path) -> JobQueue:
    return JobQueue(tmp_path / QUEUE_FILE)


@pytest.fixture
def metrics(queue: JobQueue) -> Metrics:
    one = Metrics(queue)
    one.know("films", ladder(a_rung("baseline", "baseline"), a_rung("int8")))
    return one


def samples(metrics: Metrics, name: str) -> list[tuple[Labels, float]]:
    metrics.flush()
    text = metrics.exposition().decode()
    found = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return [(sample.labels, sample.value) for sample in found if sample.name == name]


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """The one sample with exactly these labels."""
    (found,) = [number for known, number in samples(metrics, name) if known == labels]
    return found


def a_ranking(variant: str = "int8") -> Ranking:
    timing = Timing(encode_ms=1.0, queue_ms=2.0, infer_ms=4.0)
    return Ranking(variant, "0" * 16, None, [], [], False, candidates=70, timing=timing)


def test_a_request_is_counted_with_its_stages_and_its_candidates(metrics: Metrics) -> None:
    for _ in range(3):
        one = Observation("films", time.perf_counter())
        one.answered_by(a_ranking())
        one.ended(metrics, "ok")
    both = {"model": "films", "variant": "int8"}
    assert value(metrics, "slimrank_requests_total", **both, outcome="ok") == 3
    sums = {
        stage: value(metrics, "slimrank_request_duration_seconds_sum", **both, stage=stage)
        for stage in STAGES
    }
    assert sums.pop("total") > 0
    assert sums == pytest.approx({"encode": 0.003, "queue": 0.006, "infer": 0.012})
    for stage in STAGES:
        assert value(metrics, "slimrank_request_duration_seconds_count", **both, stage=stage) == 3
    assert value(metrics, "slimrank_candidates_sum", model="films") == 210
    assert value(metrics, "slimrank_candidates_bucket", model="films", le="50.0") == 0
    assert value(metrics, "slimrank_candidates_bucket", model="films", le="100.0") == 3


def test_a_request_that_fails_is_counted_by_its_code_and_its_time(metrics: Metrics) -> None:
    Observation("films", time.perf_counter()).ended(metrics, "invalid_input")
    known = {"model": "films", "variant": ""}
    assert samples(metrics, "slimrank_requests_total") == [(known | {"outcome": "invalid_input"}, 1)]
    assert samples(metrics, "slimrank_request_duration_seconds_count") == [(known | {"stage": "total"}, 1)]
    assert samples(metrics, "slimrank_candidates_count") == []


def test_names_that_only_a_client_knows_never_become_labels(metrics: Metrics) -> None:
    for model, variant in (("invented", "int8"), ("films", "invented"), ("", ""), ("films\n", "x" * 10_000)):
        one = Observation(model, time.perf_counter())
        one.answered_by(a_ranking(variant))
        one.ended(metrics, "ok")
    found = {
        (labels["model"], labels["variant"]) for labels, _ in samples(metrics, "slimrank_requests_total")
    }
    assert found == {("", ""), ("films", "")}
    assert {labels["model"] for labels, _ in samples(metrics, "slimrank_candidates_count")} == {"", "films"}


def test_a_model_that_is_gone_is_forgotten(metrics: Metrics) -> None:
    metrics.forget_models({"films", "never known"})
    assert metrics.labels_of("films", "int8") == ("", "")
    assert samples(metrics, "slimrank_active_info") == []


def test_jobs_are_counted_by_state_and_their_durations_kept(metrics: Metrics, queue: JobQueue) -> None:
    for model in "abc":
        queue.submit(model)
    claimed = queue.claim("a test")
    assert claimed is not None
    queue.succeed(claimed.id, {})
    queue.claim("a test")
    jobs = {labels["state"]: number for labels, number in samples(metrics, "slimrank_jobs")}
    assert jobs == {"queued": 1, "running": 1, "succeeded": 1, "failed": 0, "cancelled": 0}
    assert value(metrics, "slimrank_job_duration_seconds_count", state="succeeded") == 1
    assert value(metrics, "slimrank_job_duration_seconds_count", state="failed") == 0


def test_a_damaged_queue_is_a_scrape_error_and_the_rest_is_still_told(
    metrics: Metrics, queue: JobQueue
) -> None:
    assert value(metrics, "slimrank_scrape_errors_total") == 0
    queue.path.write_bytes(b"this is not a job queue" * 100)
    assert value(metrics, "slimrank_scrape_errors_total") == 1
    assert value(metrics, "slimrank_active_info", model="films", variant="int8", version="0" * 16) == 1
    assert samples(metrics, "slimrank_jobs") == []
    queue.path.unlink()
    assert value(metrics, "slimrank_scrape_errors_total") == 3, "the two scrapes above failed as well"
    assert value(metrics, "slimrank_jobs", state="queued") == 0


def test_resident_memory_is_measured(metrics: Metrics) -> None:
    metrics.measure_memory()
    found = value(metrics, "slimrank_process_resident_bytes")
    assert 10e6 < found < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_no_family_is_exposed_twice_and_every_one_is_described(metrics: Metrics) -> None:
    families = list(text_string_to_metric_families(metrics.exposition().decode()))
    assert len({one.name for one in families}) == len(families)
    assert [one.name for one in families if not one.documentation or one.type == "unknown"] == []


def test_active_variants_are_told_as_their_reports_have_them(small: SmallModel) -> None:
    async def scene(one: Running) -> None:
        for variant, version in small.store.active(NAME).state.versions.items():
            both = {"model": NAME, "variant": variant}
            report = one.registry.get(NAME).rungs[variant].report
            assert report.quality is not None
            assert value(one.metrics, "slimrank_active_info", **both, version=version) == 1
            assert value(one.metrics, "slimrank_variant_bytes", **both) == report.size.artifact_bytes
            assert value(one.metrics, "slimrank_variant_auc", **both) == report.quality.auc.value
            ratio = value(one.metrics, "slimrank_variant_compression_ratio", **both)
            assert ratio == report.size.compression_ratio

    play(small, scene)


def test_a_version_that_was_replaced_is_no_longer_told(small: SmallModel) -> None:
    async def scene(one: Running) -> None:
        new = publish_again(small, "int8-static")
        activate(small, new)
        await one.registry.refresh()
        told = [labels["version"] for labels, _ in samples(one.metrics, "slimrank_active_info")]
        assert sorted(told) == sorted(small.store.active(NAME).state.versions.values())

    play(small, scene)


def test_a_failed_load_is_counted(small: SmallModel) -> None:
    async def scene(one: Running) -> None:
        assert samples(one.metrics, "slimrank_load_failures_total") == []
        new = publish_again(small, "int8-static")
        damage(small, new)
        activate(small, new)
        await one.registry.refresh()
        both = {"model": NAME, "variant": "int8-static"}
        assert samples(one.metrics, "slimrank_load_failures_total") == [(both, 1)]

    play(small, scene)


_WITHOUT_DESCRIPTORS = """
import os, resource, sys
from pathlib import Path
from app.jobs import JobQueue
from app.serving.metrics import Metrics
from tests.serving.rungs import a_rung, ladder

metrics = Metrics(JobQueue(Path(sys.argv[1]) / "jobs.sqlite"))
names = [f"v{n}" for n in range(40)]
metrics.know("films", ladder(*(a_rung(name) for name in names)))
metrics.of("films", names[0]).ended("ok", 0.001, None)
metrics.flush()
used = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (used - 1, used - 1))
for name in names:
    metrics.of("films", name).ended("ok", 0.001, None)
metrics.flush()
"""


def _run_sharing(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program as a worker counts: in files that it shares with others, in `shared` of the folder."""
    shared = folder / "shared"
    shared.mkdir()
    return subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(shared)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_new_series_need_no_descriptor(tmp_path: Path) -> None:
    ran = _run_sharing(_WITHOUT_DESCRIPTORS, tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    sizes = [path.stat() for path in (tmp_path / "shared").glob("*.db")]
    assert sizes
    assert all(one.st_blocks * 512 < 1 << 20 for one in sizes), "they are sparse"


_WITHOUT_FOLDER = """
import shutil, sys
from pathlib import Path
from app.jobs import JobQueue
from app.serving.metrics import Metrics
from tests.serving.rungs import a_rung, ladder

folder = Path(sys.argv[1])
metrics = Metrics(JobQueue(folder / "jobs.sqlite"))
metrics.know("films", ladder(a_rung("baseline", "baseline")))
metrics.of("films", "baseline").ended("ok", 0.001, None)
metrics.flush()
shutil.rmtree(folder / "shared")
metrics.exposition()
print(metrics.exposition().decode())
"""


def test_a_scrape_tells_what_it_can_where_the_shared_files_were_removed(tmp_path: Path) -> None:
    ran = _run_sharing(_WITHOUT_FOLDER, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("could not read what the workers counted") == 2
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(ran.stdout)
        for sample in family.samples
    }
    assert found["slimrank_active_info"] == 1
    assert found["slimrank_scrape_errors_total"] == 2
    assert "slimrank_requests_total" not in found, "one worker's count told as that of all"


def test_what_one_tally_cannot_hand_over_keeps_no_other_back(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, other = metrics.of("films", "baseline"), metrics.of("films", "int8")
    broken.ended("ok", 0.001, None)
    other.ended("ok", 0.001, None)

    def fails() -> None:
        raise OSError("no descriptors")

    with monkeypatch.context() as patched:
        patched.setattr(broken, "flush", fails)
        with pytest.raises(OSError, match="no descriptors"):
            metrics.flush()
        assert b'variant="int8"} 1.0' in metrics.exposition()
    metrics.flush()
    assert b'variant="baseline"} 1.0' in metrics.exposition()
