"""The page in a real browser: it asks the real service and shows what it is told."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import running
from tests.processes import WAIT_SECONDS, Service
from tests.small_model import SmallModel

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


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
