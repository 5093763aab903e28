"""A real Prometheus scrapes the real service, through the project's own rules."""

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.e2e.running import rank, running
from tests.processes import WAIT_SECONDS, Service, eventually
from tests.small_model import SmallModel

ROOT = Path(__file__).parent.parent.parent
P99 = (
    "histogram_quantile(0.99, sum by (le, variant) "
    '(slimrank_request_duration_seconds_bucket{model="clicks", stage="total"}))'
)
REQUESTS = 20


@contextmanager
def free_port() -> Iterator[int]:
    """A port that the kernel gives to nobody else; a listener with SO_REUSEADDR can have it."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
        yield one.getsockname()[1]


def counted(one: Service) -> float:
    """The requests of both workers."""
    text = httpx2.get(one.url + "/metrics", timeout=WAIT_SECONDS).text
    return sum(map(float, re.findall(r"^slimrank_requests_total\{.*\} (\S+)$", text, re.MULTILINE)))


def configuration(target: str, folder: Path) -> Path:
    """The project's own configuration with another target, scraped more often."""
    content = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    content["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    content["rule_files"] = [str(ROOT / "deploy/prometheus/alerts.yml")]
    (job,) = (one for one in content["scrape_configs"] if one["job_name"] == "slimrank")
    job["static_configs"] = [{"targets": [target]}]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_what_workers_count_can_be_queried_and_no_alert_fires(
    small_model: SmallModel, tmp_path: Path
) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.fail(
            "prometheus is missing: install the Debian package `prometheus` (apt-get install prometheus)"
        )
    small = small_model.copy(tmp_path / "small")
    with running(small, workers=2, compressor=False) as one, free_port() as port:
        for _ in range(REQUESTS):
            assert rank(one).status_code == 200
        assert rank(one, variant="nobody").status_code == 404
        # Each worker hands over what it counted a few times a second; after that every scrape finds the same counts.
        eventually(lambda: counted(one) == REQUESTS + 1, "all requests counted")
        address = f"127.0.0.1:{port}"
        config = configuration(one.url.removeprefix("http://"), tmp_path)
        flags = (
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address={address}",
        )
        with (tmp_path / "prometheus.log").open("wb") as log:
            process = subprocess.Popen([program, *flags], stdout=log, stderr=log)
        try:
            with httpx2.Client(base_url=f"http://{address}", timeout=WAIT_SECONDS) as client:

                def query(expression: str) -> Any:
                    try:
                        answer = client.get("/api/v1/query", params={"query": expression})
                    except httpx2.TransportError:
                        return None  # it has only just been started
                    return answer.json()["data"]["result"] if answer.status_code == 200 else None

                found = eventually(lambda: query(P99), "a quantile of the latency")
                assert all(float(value) > 0 for value in (one["value"][1] for one in found))
                # A scrape that takes longer than its second fails, and an alert may be pending until the next one.
                for expected, outcome in ((REQUESTS, "ok"), (1, "unknown_variant")):
                    total = f'sum(slimrank_requests_total{{outcome="{outcome}"}}) == {expected}'
                    eventually(lambda total=total: query(total), total)
                eventually(lambda: len(query("slimrank_active_info")) == 3, "three active variants")
                assert query('ALERTS{alertstate="firing"}') == []
                eventually(lambda: query("ALERTS") == [], "no alert")
        finally:
            process.terminate()
            process.wait(WAIT_SECONDS)
