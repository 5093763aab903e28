"""No Docker engine runs here, so the Dockerfile is checked for what can be seen in it; its commands run for real."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from app.cli.main import COMMANDS
from app.settings import Settings

from tests.deploy.dockerfile import ROOT, exec_form, read_dockerfile
from tests.processes import WAIT_SECONDS, eventually

FILE = read_dockerfile()
TARGETS = ("serve", "full")


def copied(target: str) -> set[str]:
    """What the target and the stages it copies from take out of the source tree."""
    texts = [text for word, text in FILE.everything(target) if word == "COPY" and "--from=" not in text]
    return {source for text in texts for source in text.split()[:-1]}


def test_each_stage_begins_with_a_stage_or_a_pinned_slim_python():
    for stage in FILE.stages.values():
        assert stage.parent in FILE.stages or re.fullmatch(r"python:3\.11[\w.]*-slim-\w+", stage.parent)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_copied_exists_and_is_little(target):
    assert {"app", "models", "pyproject.toml", "requirements.lock"} <= copied(target)
    for source in copied(target):
        assert (ROOT / source).exists(), source
    assert not copied(target) & {".", "tests", "docs", ".git", "store"}


@pytest.mark.parametrize("target", TARGETS)
def test_the_build_context_has_what_is_copied_and_nothing_else(target):
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    assert allowed == copied("serve") | copied("full")
    assert any(fnmatch("app/__pycache__", rule) for rule in rules)


def test_only_the_full_image_has_torch():
    installs = {target: [t for w, t in FILE.everything(target) if "pip install" in t] for target in TARGETS}
    assert not [text for text in installs["serve"] if "compress" in text]
    assert [text for text in installs["full"] if ".[compress]" in text]


@pytest.mark.parametrize("target", TARGETS)
def test_every_dependency_comes_from_the_lock(target):
    installs = [text for word, text in FILE.everything(target) if word == "RUN" and "pip install" in text]
    assert installs
    for text in installs:
        assert "-c requirements.lock" in text or "--no-deps" in text, text


@pytest.mark.parametrize("target", TARGETS)
def test_code_comes_after_the_dependencies_so_that_their_layer_is_kept(target):
    stage = FILE.stages[f"packages-{target}"]
    words = [(word, text) for word, text in FILE.image(stage.name) if word in {"RUN", "COPY"}]
    code = words.index(("COPY", "app app"))
    assert not [text for _, text in words[code:] if "-c requirements.lock" in text]


@pytest.mark.parametrize("target", TARGETS)
def test_it_runs_as_a_user_without_rights_who_owns_the_volumes(target):
    user = FILE.all(target, "USER")[-1]
    assert user.isdigit()
    assert int(user) > 0
    made = " ".join(FILE.all(target, "RUN"))
    assert f"--uid {user} " in made
    environment = FILE.environment(target)
    volumes = exec_form(FILE.all(target, "VOLUME")[-1])
    assert set(volumes) == {environment["SLIMRANK_STORE"], environment["SLIMRANK_CACHE"]}
    for volume in volumes:
        assert volume in made


@pytest.mark.parametrize("target", TARGETS)
def test_what_it_sets_are_settings_and_no_secret(target):
    environment = FILE.environment(target)
    ours = {
        name.removeprefix("SLIMRANK_").lower(): v for name, v in environment.items() if "SLIMRANK" in name
    }
    assert ours.keys() <= Settings.model_fields.keys()
    assert "admin_key" not in ours
    settings = Settings.model_validate(ours)
    assert settings.host == "0.0.0.0"  # noqa: S104  (in the container)
    assert settings.compressor is (target == "full")


@pytest.mark.parametrize("target", TARGETS)
def test_the_command_is_in_exec_form_and_exists(target):
    assert exec_form(FILE.all(target, "ENTRYPOINT")[-1]) == ["slimrank"]
    command = exec_form(FILE.all(target, "CMD")[-1])
    assert command[0] in COMMANDS


def test_no_address_of_an_index_and_no_secret_is_in_the_file():
    text = (ROOT / "Dockerfile").read_text()
    assert not re.search(r"https?://", text.replace("http://127.0.0.1", ""))
    assert 'ARG PIP_EXTRA_INDEX_URL=""' in text
    for stage in FILE.stages.values():
        assert stage.name == "packages-full" or not stage.all("ARG")


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server whose every answer has this status; gives its port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/health/live" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def health_check(port: int) -> int:
    """Run the image's own health check against a port; gives its exit code."""
    text = FILE.all("serve", "HEALTHCHECK")[-1]
    assert FILE.all("full", "HEALTHCHECK")[-1] == text
    program, *arguments = exec_form(text.partition(" CMD ")[2])
    assert program == "python"
    # A proxy that is set must not be asked for the container's own address.
    environment = os.environ | {"SLIMRANK_PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        stderr=subprocess.DEVNULL,
        timeout=WAIT_SECONDS,
        check=False,
    ).returncode


def test_the_health_check_says_what_the_service_says():
    with answering(503) as port:
        assert health_check(port) != 0
    with answering(200) as port:
        # As Docker does it: one that found no answer in its few seconds is followed by another.
        eventually(lambda: health_check(port) == 0, "a healthy answer")


def test_the_health_check_fails_where_nothing_listens():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # nobody else can listen there meanwhile
        assert health_check(silent.getsockname()[1]) != 0
