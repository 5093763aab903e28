"""All settings of the service, read once from the environment (prefix SLIMRANK_) and passed in, never global."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.machine import usable_cores

_MOST = 256  # workers, and threads


class Settings(BaseSettings):
    """The settings; each is an environment variable, for example `SLIMRANK_PORT`, and a flag of `slimrank serve`."""

    model_config = SettingsConfigDict(
        env_prefix="SLIMRANK_", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    @field_validator("admin_key")
    @classmethod
    def _is_text(cls, key: SecretStr | None) -> SecretStr | None:
        # An environment variable may hold any bytes; those that are no UTF-8 come as lone surrogates.
        if key is not None and not key.get_secret_value().isprintable():
            raise ValueError("the key must be of printable characters, in UTF-8")
        return key

    # A 0 ends here, so that nothing else needs to know of it: children are told the numbers that came of it.
    @field_validator("workers")
    @classmethod
    def _as_many_as_cores(cls, workers: int) -> int:
        return workers or min(usable_cores(), _MOST)

    @field_validator("inference_threads")
    @classmethod
    def _cores_of_a_worker(cls, threads: int, others: ValidationInfo) -> int:
        # Workers are not there when they are out of range, which is an error of its own.
        return threads or min(max(1, usable_cores() // others.data.get("workers", 1)), _MOST)

    host: str = Field(default="127.0.0.1", description="Address that the service listens on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8000, description="TCP port; 0 picks a free one."
    )
    workers: Annotated[int, Field(ge=0, le=_MOST)] = Field(
        default=1, description="Number of serving processes; 0 takes as many as there are usable cores."
    )
    store: Path = Field(default=Path("store"), description="Folder of the artifact store and the job queue.")
    models: Path = Field(default=Path("models"), description="Folder of the model repository.")
    cache: Path = Field(default=Path(".cache"), description="Folder for data sets fetched once.")
    admin_key: SecretStr | None = Field(
        default=None, description="Key of the admin routes. With none set, they are closed."
    )
    compressor: bool = Field(
        default=True,
        description="Whether `slimrank serve` runs compression jobs itself, in a process of its own.",
    )
    compressor_threads: Annotated[int, Field(ge=1, le=256)] = Field(
        default=1, description="Threads that a compression job may use."
    )
    compressor_nice: Annotated[int, Field(ge=0, le=19)] = Field(
        default=10, description="Niceness of a compression job (0 to 19; higher yields more to serving)."
    )
    compressor_idle: bool = Field(
        default=True,
        description="Whether a compression job, once something is served, "
        "has a core only while nothing else wants it.",
    )
    inference_threads: Annotated[int, Field(ge=0, le=_MOST)] = Field(
        default=1,
        description="Threads of one onnxruntime session; "
        "0 takes the usable cores divided by the workers, rounded down, and at least 1.",
    )
    max_candidates: Annotated[int, Field(ge=1)] = Field(
        default=10_000,
        description="Most candidates that one rank request may name, "
        "and most items that /recommend gives (10 at least).",
    )
    max_body_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=4 * 1024 * 1024, description="Largest request body, in bytes."
    )
    max_queue: Annotated[int, Field(ge=1)] = Field(
        default=256, description="Most requests that wait in one worker."
    )
    max_batch_rows: Annotated[int, Field(ge=1)] = Field(
        default=1024,
        description="Most candidate rows that are run together; "
        "of 1, 8, 64, 128, 256, 512 and 1,024 the best is found by timing.",
    )
    item_values_bytes: Annotated[int, Field(ge=0)] = Field(
        default=32 * 1024 * 1024,
        description="Most memory that each worker and variant may use for what the graph computes of an item alone, "
        "for all items of the catalog, in bytes; 0 computes it for every request.",
    )
    deadline_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=10_000.0, description="Deadline of a request that names none, in milliseconds."
    )
    poll_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=0.1, description="How often a worker looks for newly activated versions."
    )
    client_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=60.0,
        description="How long a client may take to send a request, or to read what it was answered.",
    )
    drain_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=10.0, description="How long requests under way may take to end after SIGTERM."
    )
    keep_versions: Annotated[int, Field(ge=1)] = Field(
        default=2,
        description="Newest versions of each variant that are kept; "
        "those that the active state or its history names are kept as well.",
    )
    job_timeout_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=3600.0, description="Longest time one compression job may run."
    )
