"""What is measured of a variant: its quality, its size and its speed, and the verdict on it.

Written once, by compression, as report.json in the artifact; read by the API, the command line and the metrics.
"""

from typing import Literal

import msgspec


class Interval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A measured value and its 95% confidence interval."""

    value: float
    low: float
    high: float


class Quality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Against the truth, on the test rows; ratios are to the baseline, by a paired bootstrap.

    None stands for what these rows cannot tell: `gauc` where no user has rows of both classes, the figures of lists
    where no user has a positive row and enough items never met.
    """

    rows: int
    users: int
    auc: Interval
    auc_ratio: Interval
    gauc: float | None
    log_loss: float
    normalized_entropy: float
    calibration_error: float
    ndcg_at_10: Interval | None
    ndcg_at_10_ratio: Interval | None
    hit_rate_at_10: Interval | None


class Agreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Against the baseline's own scores; `batch_difference` is how much a row's score moves with its neighbours.

    `overlap_at_10` and `kendall_tau` are None where there are no lists.
    """

    overlap_at_10: float | None
    kendall_tau: float | None
    largest_score_difference: float
    distinct_score_ratio: float
    batch_difference: float
    unknown_user_difference: float
    """Largest score difference to the baseline for a user out of vocabulary."""


class Slice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """AUC on a part of the test rows, beside the baseline's on the same part."""

    name: str
    rows: int
    auc: float
    baseline_auc: float


class Size(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes of model.onnx and its external data together; the ratio is the baseline's bytes over these."""

    artifact_bytes: int
    parameters: int
    compression_ratio: float


class Latency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`session.run` of one request, one thread, interleaved with the baseline; `speedup` is a ratio of the p50s."""

    candidates: int
    samples: int
    p50_ms: float
    p99_ms: float
    speedup: float


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The machine that the figures were taken on."""

    processor: str
    instruction_sets: list[str]
    cores: int
    memory_bytes: int
    kernel: str
    onnxruntime: str


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything measured of one variant.

    `quality` and `agreement` are None where the model has no evaluation rows; `quality` also where they are all of
    one class.
    """

    quality: Quality | None
    agreement: Agreement | None
    slices: list[Slice]
    size: Size
    latency: list[Latency]
    machine: Machine
    seconds: float
    """Wall-clock seconds that making and measuring the variant took."""
    notes: list[str] = []
    """What steps decided by measurement, one line each, such as which layers stay in float and why."""

    def latency_at(self, candidates: int) -> Latency | None:
        """The measurement at that candidate count, if there is one."""
        return next((one for one in self.latency if one.candidates == candidates), None)


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The gate's decision and its reason in one sentence."""

    outcome: Literal["baseline", "passed", "rejected"]
    reason: str

    @property
    def may_serve(self) -> bool:
        """Whether `auto` may choose the variant."""
        return self.outcome != "rejected"
