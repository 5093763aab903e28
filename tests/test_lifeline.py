"""What a child is told: settings survive the environment, secrets go only where they are needed."""

from pathlib import Path

import pytest
from app.lifeline import environment_of
from app.settings import Settings
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

texts = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1)


def read_back(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Settings:
    with monkeypatch.context() as scope:
        for name in Settings.model_fields:
            scope.delenv(f"SLIMRANK_{name.upper()}", raising=False)
        for name, value in environment.items():
            if name.startswith("SLIMRANK_"):
                scope.setenv(name, value)
        return Settings()


@given(
    settings=st.builds(
        Settings,
        host=texts,
        admin_key=st.none() | texts.map(SecretStr),
        compressor=st.booleans(),
        drain_seconds=st.floats(0, 1e6),
        store=st.sampled_from([Path("store"), Path("/a b/c")]),
    )
)
def test_a_child_reads_equal_settings(settings: Settings) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert read_back(monkeypatch, environment_of(settings, with_secrets=True)) == settings


def test_a_child_that_needs_no_secret_gets_none() -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("SLIMRANK_ADMIN_KEY", "open sesame")
        monkeypatch.setenv("slimrank_admin_key", "open sesame")
        environment = environment_of(Settings(), with_secrets=False)
    assert "sesame" not in "".join(environment.values())


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIMRANK_ADMIN_KEY", "")
    monkeypatch.setenv("SLIMRANK_PORT", "")
    assert Settings().admin_key is None
    assert Settings().port == 8000


def test_telemetry_of_libraries_is_off_unless_the_operator_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    assert environment_of(Settings(), with_secrets=False)["ORT_DISABLE_TELEMETRY"] == "1"
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    assert environment_of(Settings(), with_secrets=False)["ORT_DISABLE_TELEMETRY"] == "0"
