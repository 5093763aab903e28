"""A real Prometheus scrapes the real service, through the project's own rules."""

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.e2e.running import rank, running
from tests.processes import WAIT_SECONDS, eventually
from tests.small_model import SmallModel

ROOT = Path(__file__).parent.parent.parent
P99 = (
    "histogram_quantile(0.99, sum by (le, variant) "
    '(slimrank_request_duration_seconds_bucket{model="clicks", stage="total"}))'
)
REQUESTS = 20


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


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
    with running(small_model.copy(tmp_path / "small"), workers=2, compressor=False) as one:
        for _ in range(REQUESTS):
            assert rank(one).status_code == 200
        assert rank(one, variant="nobody").status_code == 404
        address = f"127.0.0.1:{free_port()}"
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
                total = query('sum(slimrank_requests_total{outcome="ok"})')
                assert total[0]["value"][1] == str(REQUESTS)
                assert query('slimrank_requests_total{outcome="unknown_variant"}')[0]["value"][1] == "1"
                assert len(query("slimrank_active_info")) == 3
                assert query("ALERTS") == []
        finally:
            process.terminate()
            process.wait(WAIT_SECONDS)
