"""The page in a real browser: it asks the real service and shows what it is told."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from app.artifact import MANIFEST_FILE, REPORT_FILE, read_report
from app.report import Latency
from app.store import ACTIVE_FILE

from tests.e2e.running import running
from tests.processes import WAIT_SECONDS, Service
from tests.serving.store_changes import activate, active_version, publish_graph
from tests.small_model import NAME, SmallModel

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def small(small_model: SmallModel, tmp_path: Path) -> SmallModel:
    """A small model of the test's own, to be changed."""
    return small_model.copy(tmp_path / "small")


@pytest.fixture(scope="module")
def one(small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(small_model.copy(tmp_path_factory.mktemp("page")), compressor=False) as service:
        yield service


def text_of(url: str, profile: Path) -> str:
    """The page's document once its scripts have run."""
    browser = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.fail("no browser is here: install the Debian package `chromium` (apt-get install chromium)")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server", f"--user-data-dir={profile}")
    command = [browser, *flags, "--virtual-time-budget=10000", "--dump-dom", url]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def row_of(shown: str, variant: str) -> list[str]:
    """The cells of a variant's line."""
    (row,) = re.findall(rf"<tr>(<td>{variant}</td>.*?)</tr>", shown, re.DOTALL)
    return re.findall(r"<td[^>]*>([^<]*)</td>", row)


def time_at(small: SmallModel, variant: str, counts: list[int]) -> None:
    """Let a version of the variant serve whose report has times at these candidate counts alone."""
    source = small.store.folder(NAME, variant, active_version(small, variant))
    report = read_report(source)
    latency = [Latency(count, 600, 0.25, 0.5, 2.0) for count in counts]

    def write(folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST_FILE))
        changed = msgspec.structs.replace(report, latency=latency)
        (folder / REPORT_FILE).write_bytes(msgspec.json.encode(changed))

    activate(small, publish_graph(small, variant, write))


def test_the_page_shows_variants_a_plot_and_recommendations(one: Service, tmp_path: Path) -> None:
    shown = text_of(f"{one.url}/?model=clicks&user=u1", tmp_path)
    for variant in ("baseline", "int8-dynamic", "int8-static"):
        assert f"<td>{variant}</td>" in shown
        assert f">{variant}</text>" in shown
    assert "clicks is ready: 3 variants loaded" in shown
    assert "For user u1, by" in shown
    assert shown.count("<li>") == 3 + 10


def test_what_is_typed_is_shown_as_text(one: Service, tmp_path: Path) -> None:
    shown = text_of(f"{one.url}/?user=%3Cimg%20src%3Dx%3E", tmp_path)
    assert "For an unknown user" in shown
    assert "<img" not in shown


def test_the_documentation_page_works_without_a_network(one: Service, tmp_path: Path) -> None:
    shown = text_of(f"{one.url}/docs", tmp_path)
    assert "Rank Candidates" in shown
    assert 'src="http' not in shown


def test_before_the_first_variant_is_published_the_page_says_so(small: SmallModel, tmp_path: Path) -> None:
    shutil.rmtree(small.store_folder)
    with running(small, ready=False, compressor=False) as early:
        shown = text_of(f"{early.url}/", tmp_path)
    assert "clicks is not ready yet; its first compression may be under way." in shown
    assert "Synthetic clicks: Will this user click?" in shown
    assert '<figure id="figure" hidden="">' in shown, "there is nothing to plot"
    assert "<th" not in shown


def test_a_variant_that_was_timed_at_other_sizes_is_shown_with_the_others(
    small: SmallModel, tmp_path: Path
) -> None:
    time_at(small, "int8-static", [10, 50])
    with running(small, compressor=False) as service:
        shown = text_of(f"{service.url}/", tmp_path)
    row = row_of(shown, "int8-static")
    assert (row[-4], row[-3], row[-2], row[-1]) == ("-", "0.250", "-", "-"), "of 1, 10 and 100 candidates"
    assert "-" not in row_of(shown, "baseline")[-4:]
    assert ">baseline</text>" in shown
    assert ">int8-static</text>" not in shown, "the plot is at 100 candidates"
    assert "clicks is ready: 3 variants loaded" in shown


def test_a_damaged_active_state_leaves_the_variants_and_the_ranking(
    small: SmallModel, tmp_path: Path
) -> None:
    with running(small, compressor=False) as service:
        (small.store_folder / NAME / ACTIVE_FILE).write_text("{")
        shown = text_of(f"{service.url}/?user=u1", tmp_path)
    assert "Something went wrong: clicks/active.json cannot be read" in shown
    for variant in ("baseline", "int8-dynamic", "int8-static"):
        assert row_of(shown, variant + r" \(not active\)")
    assert row_of(shown, "active.json")[:2] == ["active.json", "unreadable"]
    assert "For user u1, by" in shown


def test_a_variant_that_cannot_be_read_is_shown_with_its_reason(small: SmallModel, tmp_path: Path) -> None:
    version = active_version(small, "int8-static")
    with running(small, compressor=False) as service:
        (small.store.folder(NAME, "int8-static", version) / MANIFEST_FILE).write_text("{")
        shown = text_of(f"{service.url}/", tmp_path)
    assert row_of(shown, "int8-static")[:3] == ["int8-static", "unreadable", "-"]
    assert f"<li>int8-static: clicks/int8-static/{version}: the manifest cannot be read (" in shown
    assert ">baseline</text>" in shown
    assert "clicks is ready" in shown
