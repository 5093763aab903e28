"""Every block of the README is executed, in order, as a stranger would: the demo itself, on real data.

The service listens on a free port, keeps its store in a folder of its own, and is no nicer than the tests beside it;
apart from that the commands are run as they stand. `make test` is this very run, so only what it would do is asked.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from app.model_card import BASELINE, read_card

from tests.deploy.markdown import blocks, broken_links
from tests.processes import WAIT_SECONDS, children_of, environment, eventually

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SHELL = [block.replace("\\\n", " ").strip() for block in blocks(README, "sh")]
(ANSWER,) = (json.loads(block) for block in blocks(README, "json"))
PUBLISHED_URL = "http://127.0.0.1:8000"
# On a fresh machine the data are fetched and the baseline is made and measured first.
READY_SECONDS = 800.0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "store"


@pytest.fixture(scope="module")
def demo(store: Path) -> Iterator[str]:
    """`make run`, once it answers; gives its address."""
    assert SHELL[0] == "make run"
    settings = environment(port=0, store=store, compressor_nice=0, compressor_idle=False)
    for name in ("ARGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # of the `make test` that may have started this
        settings.pop(name, None)
    log = store.parent / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            shlex.split(SHELL[0]),
            cwd=ROOT,
            env=settings,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    assert process.stdout is not None
    said = ""
    try:
        while not (found := re.search(r"serves at (http://\S+)", said)):
            line = process.stdout.readline().decode()
            assert line, f"make run ended: {said}{log.read_text()}"
            said += line
        eventually(lambda: is_ready(found[1]), "the demo is ready", READY_SECONDS)
        yield found[1]
    finally:
        try:
            for service in children_of(process.pid):
                os.kill(service, signal.SIGTERM)
            code = process.wait(WAIT_SECONDS)
        finally:
            with suppress(ProcessLookupError):  # all that it started has ended, as it should
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(WAIT_SECONDS)
            process.stdout.close()
    assert code == 0, log.read_text()


def is_ready(url: str) -> bool:
    return httpx2.get(f"{url}/health/ready", timeout=WAIT_SECONDS).status_code == 200


def run(command: str, **variables: str) -> str:
    ran = subprocess.run(  # noqa: S602  (the README's own commands)
        command,
        shell=True,
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def shape(value: Any) -> Any:
    """The keys and types of a JSON value."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return type(value)


def test_the_request_has_an_answer_like_the_one_shown(demo: str) -> None:
    assert shutil.which("curl"), "curl is missing: install the Debian package `curl`"
    answer = json.loads(run(SHELL[1].replace(PUBLISHED_URL, demo)))
    assert shape(answer) == shape(ANSWER)
    assert all(item["display"]["title"] for item in answer["items"])


def test_the_report_shows_what_is_published(demo: str, store: Path) -> None:
    assert "report movielens" in SHELL[2]
    assert BASELINE in run(SHELL[2], SLIMRANK_STORE=str(store), COLUMNS="200")


def test_the_test_command_is_one_of_the_makefile() -> None:
    assert SHELL[3:] == ["make test"]
    assert "pytest" in run("make --dry-run test")


def test_the_table_has_every_variant_of_the_demo() -> None:
    card = read_card(ROOT / "models" / "movielens")
    rows = re.findall(r"^\| `([\w-]+)` \|", README, re.MULTILINE)
    assert rows == [BASELINE, *(recipe.name for recipe in card.recipes)]


@pytest.mark.parametrize(
    "path",
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("models/*/README.md")],
    ids=lambda one: one.name,
)
def test_no_link_leads_nowhere(path: Path) -> None:
    assert broken_links(path) == []
