"""The real service: supervisor, workers, compressor, store and queue, as `slimrank serve` runs them."""

import json
import os
import shutil
import signal
import socket
from pathlib import Path

import httpx2
from app.store import ArtifactStore

from tests.compression.parts import graph_of, ready_model
from tests.e2e.load import continuous_load
from tests.e2e.running import JOB_SECONDS, admin, finished, is_ready, rank, running
from tests.processes import WAIT_SECONDS, eventually
from tests.small_model import NAME, SmallModel


def test_an_empty_store_is_filled_served_and_then_reused(small_model: SmallModel, tmp_path: Path) -> None:
    small = ready_model(small_model, graph_of(small_model), tmp_path)
    with running(small, ready=False, compressor=False) as one:
        first = httpx2.get(one.url + "/health/ready", timeout=WAIT_SECONDS)
        assert first.status_code == 503
        assert first.json()["models"]["clicks"]["missing"]
        assert rank(one).status_code == 503
    with running(small, ready=False) as one:
        eventually(lambda: is_ready(one), "the baseline", JOB_SECONDS)
        assert rank(one).status_code == 200
        jobs = admin(one, "GET", "/jobs")["jobs"]
        assert finished(one, jobs[0]["id"])["state"] == "succeeded"
        eventually(lambda: len(one.get("/health/ready")["models"]["clicks"]["loaded"]) == 3, "all variants")
        variants = one.get("/v1/models/clicks/variants")["variants"]
        assert [v["name"] for v in variants] == ["baseline", "int8-dynamic", "int8-static"]
        assert [v["verdict"] for v in variants][:2] == ["baseline", "rejected"]
        one.signal(signal.SIGTERM)
        assert one.exit_code() == 0
        one.leaves_nobody()
    with running(small) as one:
        assert rank(one).status_code == 200
        assert len(admin(one, "GET", "/jobs")["jobs"]) == 1


def test_no_request_fails_while_variants_are_made_and_swapped(
    small_model: SmallModel, tmp_path: Path
) -> None:
    small = small_model.copy(tmp_path)
    with running(small, workers=2) as one:
        with continuous_load(one.url) as load:
            load.wait_for(50)
            job = admin(one, "POST", "/models/clicks/compress", {"force": True})
            assert finished(one, job["id"])["state"] == "succeeded"
            load.wait_for(50)
            admin(
                one,
                "POST",
                "/models/clicks/activate",
                {"policy": {"kind": "pinned", "variant": "int8-static"}},
            )
            eventually(lambda: any(v == "int8-static" for v, _ in load.versions), "the pinned variant")
            admin(one, "POST", "/models/clicks/rollback")
            load.wait_for(50)
        assert load.failures == []
        assert set(load.outcomes) == {"200"}


def test_a_killed_worker_comes_back_and_the_others_go_on(small_model: SmallModel, tmp_path: Path) -> None:
    small = small_model.copy(tmp_path)
    with running(small, workers=2, compressor=False) as one:
        with continuous_load(one.url) as load:
            load.wait_for(20)
            for _ in range(3):
                victim = one.workers()[0]
                os.kill(victim, signal.SIGKILL)
                eventually(lambda gone=victim: gone not in one.workers(), "the death")
                eventually(lambda: len(one.workers()) == 2, "the next worker")
                load.wait_for(20)
        # Only what the dead workers had in their hands may be lost, and nothing is answered wrongly.
        assert set(load.outcomes) <= {"200", "ReadError", "RemoteProtocolError", "ConnectError"}
        assert load.outcomes.total() - load.answered <= 3 * 3


def test_a_running_job_can_be_cancelled(small_model: SmallModel, tmp_path: Path) -> None:
    small = small_model.copy(tmp_path)
    shutil.rmtree(small.store_folder)
    card = small.models / NAME / "model.toml"
    step = '{ technique = "quantize_static", rows = 500 }'
    # So many that it does not end before it is cancelled, however late that is.
    more = (f'[[recipes]]\nname = "more-{seed}"\nseed = {seed}\nsteps = [{step}]' for seed in range(100))
    card.write_text("\n".join([card.read_text(), *more]))
    with running(small, ready=False) as one:

        def under_way() -> str | None:
            """The job, once it has been queued and begun."""
            jobs = admin(one, "GET", "/jobs")["jobs"]
            return jobs[0]["id"] if jobs and jobs[0]["state"] == "running" else None

        job = eventually(under_way, "the start of the job")
        assert admin(one, "DELETE", f"/jobs/{job}")["cancel_requested"]
        assert finished(one, job)["state"] == "cancelled"
        assert [fault for _, fault in ArtifactStore(small.store_folder).verify() if fault] == []


def test_a_recipe_of_a_request_becomes_a_variant_that_can_be_asked_for(
    small_model: SmallModel, tmp_path: Path
) -> None:
    small = ready_model(small_model, graph_of(small_model), tmp_path)
    small.compress()
    with running(small) as one:
        recipe = {"name": "per-tensor", "steps": [{"technique": "quantize_static", "per_channel": False}]}
        job = admin(one, "POST", "/models/clicks/compress", {"recipe": recipe})
        assert finished(one, job["id"])["result"]["variants"][-1]["variant"] == "per-tensor"
        eventually(lambda: rank(one, variant="per-tensor").status_code == 200, "the new variant")
        bad = {"name": "bad", "steps": [{"technique": "quantize_static", "no_such_setting": 1}]}
        failed = finished(one, admin(one, "POST", "/models/clicks/compress", {"recipe": bad})["id"])
        assert failed["state"] == "failed"
        assert "no_such_setting" in failed["error"]


def test_a_worker_holds_no_compression_library(small_model: SmallModel, tmp_path: Path) -> None:
    small = small_model.copy(tmp_path)
    with running(small, compressor=False) as one:
        assert rank(one).status_code == 200
        (worker,) = one.children()
        mapped = Path(f"/proc/{worker}/maps").read_text()
        assert "onnxruntime" in mapped
        for library in ("torch", "polars", "scipy", "sklearn", "safetensors"):
            assert f"/{library}/" not in mapped


def test_a_request_that_outlasts_the_drain_is_told_so(small_model: SmallModel, tmp_path: Path) -> None:
    small = small_model.copy(tmp_path)
    with running(small, compressor=False, drain_seconds=0.5) as one:
        address = httpx2.URL(one.url)
        with socket.create_connection((address.host, address.port or 80), timeout=WAIT_SECONDS) as client:
            client.sendall(b"POST /v1/models/clicks/rank HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            assert one.get("/health/live")  # by now the half request is under way, too
            one.signal(signal.SIGTERM)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert one.exit_code() == 0
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert json.loads(content)["error"]["code"] == "not_ready"
    assert "Traceback" not in (one.folder / "log").read_text()
