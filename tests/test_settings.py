"""Settings come from the environment, within their ranges, and never show the admin key."""

import os
import pickle
from pathlib import Path

import pytest
from app.settings import Settings
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

SECRET = "not-to-be-seen"  # noqa: S105  (it is there to be looked for)


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SLIMRANK_{name.upper()}", raising=False)


def test_the_defaults_need_no_environment() -> None:
    settings = Settings()
    assert settings == Settings.model_construct()
    assert (settings.host, settings.admin_key) == ("127.0.0.1", None), "closed unless somebody opens it"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("host", "::1", "::1"),
        ("port", "0", 0),
        ("workers", "4", 4),
        ("store", "/var/lib/slimrank/store", Path("/var/lib/slimrank/store")),
        ("compressor", "false", False),
        ("deadline_ms", "0.5", 0.5),
        ("drain_seconds", "0", 0.0),
    ],
)
def test_a_setting_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(f"SLIMRANK_{name.upper()}", text)
    settings = Settings()
    assert getattr(settings, name) == value
    assert settings.model_dump(exclude={name}) == Settings.model_construct().model_dump(exclude={name})


def test_only_variables_with_the_prefix_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("SLIMRANK_NO_SUCH_SETTING", "1")
    assert Settings() == Settings.model_construct()


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(f"SLIMRANK_{name.upper()}", "")
    assert Settings() == Settings.model_construct()


def test_an_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIMRANK_PORT", "1")
    assert Settings(port=2).port == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("port", text) for text in ("-1", "65536", "eighty", "80.5")),
        *(("workers", text) for text in ("257", "-1", "0.5", "all")),
        *(("compressor_threads", text) for text in ("0", "257")),
        *(("compressor_nice", text) for text in ("-1", "20")),
        *(("inference_threads", text) for text in ("-1", "257")),
        ("compressor", "perhaps"),
        ("max_candidates", "0"),
        ("max_body_bytes", "1023"),
        ("max_queue", "0"),
        ("max_batch_rows", "0"),
        ("keep_versions", "0"),
        *(("deadline_ms", text) for text in ("0", "-1", "nan", "inf", "1e999")),
        *(("poll_seconds", text) for text in ("0", "nan", "inf")),
        *(("drain_seconds", text) for text in ("-0.1", "nan", "inf")),
        *(("job_timeout_seconds", text) for text in ("0", "nan", "inf")),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(f"SLIMRANK_{name.upper()}", text)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert [error["loc"] for error in caught.value.errors()] == [(name,)]


@pytest.mark.parametrize("key", [b"k\xff", b"a\nb", b"a\x7fb"])
def test_a_key_that_no_header_could_be_compared_with_is_refused(
    monkeypatch: pytest.MonkeyPatch, key: bytes
) -> None:
    monkeypatch.setenv("SLIMRANK_ADMIN_KEY", os.fsdecode(key))
    with pytest.raises(ValidationError, match="the key must be of printable characters, in UTF-8") as caught:
        Settings()
    assert os.fsdecode(key) not in str(caught.value)


@pytest.mark.parametrize(
    ("cores", "asked", "found"),
    [
        (1, (0, 0), (1, 1)),
        (2, (0, 0), (2, 1)),
        (2, (1, 0), (1, 2)),
        (8, (3, 0), (3, 2)),
        (8, (0, 4), (8, 4)),
        (2, (16, 0), (16, 1)),
        (8, (1, 1), (1, 1)),
        (512, (0, 0), (256, 2)),
        (512, (1, 0), (1, 256)),
    ],
)
def test_0_takes_what_the_cores_allow(
    monkeypatch: pytest.MonkeyPatch, cores: int, asked: tuple[int, int], found: tuple[int, int]
) -> None:
    monkeypatch.setattr("app.settings.usable_cores", lambda: cores)
    monkeypatch.setenv("SLIMRANK_WORKERS", str(asked[0]))
    monkeypatch.setenv("SLIMRANK_INFERENCE_THREADS", str(asked[1]))
    settings = Settings()
    assert (settings.workers, settings.inference_threads) == found
    by_flags = Settings(workers=asked[0], inference_threads=asked[1])
    assert by_flags == settings, "a flag is no other than the environment"


@given(cores=st.integers(1, 600), workers=st.integers(0, 256), threads=st.integers(0, 256))
def test_no_setting_is_0_after_reading_and_none_that_is_given_changes(
    cores: int, workers: int, threads: int
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("app.settings.usable_cores", lambda: cores)
        settings = Settings(workers=workers, inference_threads=threads)
    assert settings.workers == workers or (workers == 0 and 1 <= settings.workers <= cores)
    if threads:
        assert settings.inference_threads == threads
    else:
        assert settings.inference_threads >= 1
        assert settings.inference_threads == 1 or settings.workers * settings.inference_threads <= cores


def test_workers_out_of_range_are_the_only_error_beside_threads_that_follow_them() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(workers=-1, inference_threads=0)
    assert [error["loc"] for error in caught.value.errors()] == [("workers",)]


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1


def test_the_admin_key_shows_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIMRANK_ADMIN_KEY", SECRET)
    settings = Settings()
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == SECRET
    shown = (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json())
    assert not [one for one in shown if SECRET in one]
    with pytest.raises(ValidationError) as caught:
        Settings(port=-1)
    assert SECRET not in str(caught.value)


def test_settings_reach_another_process_as_they_are() -> None:
    settings = Settings(port=0, admin_key=SECRET)
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301  (these are our own bytes)


def test_every_setting_says_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
