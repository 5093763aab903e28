"""What Prometheus is told, from a registry of our own.

Counters and histograms are kept in files that all workers of a service share (PROMETHEUS_MULTIPROC_DIR, set by the
supervisor), so that any worker answers for all. What the store and the job queue know is read when a scrape asks.

Names of models and variants become labels only once they are known to the store: a client cannot invent series.
"""

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, mmap_dict
from prometheus_client.metrics_core import GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app.errors import ServiceError
from app.jobs import JobQueue
from app.serving.ladder import Rung
from app.serving.query import Ranking
from app.serving.shadow_metrics import ShadowMetrics
from app.serving.tally import Count, SummedHistogram, Tally

_LOG = logging.getLogger(__name__)
# The files are sparse. To grow one takes a descriptor, and where there is none at that moment the library is left with
# a file that it takes for larger than it is mapped: every later series would fail. So they are large from the start.
mmap_dict._INITIAL_MMAP_SIZE = 1 << 24  # noqa: SLF001  (there is no other way to say it)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STAGES = ("encode", "queue", "infer", "total")
_SECONDS = (
    *(0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02),
    *(0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_CANDIDATES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 100_000)


class Metrics:
    """The metrics of one worker, and the scrape for all of them."""

    def __init__(self, queue: JobQueue) -> None:
        own = CollectorRegistry()
        self._own = own
        self._queue = queue
        self._rungs: dict[str, Mapping[str, Rung]] = {}
        self._tallies: dict[tuple[str, str], Tallies] = {}
        self.duration = SummedHistogram(
            "slimrank_request_duration_seconds",
            "Time of a ranking request by stage.",
            ["model", "variant", "stage"],
            buckets=_SECONDS,
            registry=own,
        )
        self.requests = Counter(
            "slimrank_requests_total",
            "Ranking requests by outcome: ok, or the error's code.",
            ["model", "variant", "outcome"],
            registry=own,
        )
        self.candidates = SummedHistogram(
            "slimrank_candidates",
            "Candidates ranked by a request.",
            ["model"],
            buckets=_CANDIDATES,
            registry=own,
        )
        self.shadow = ShadowMetrics(own)
        self._load_failures = Counter(
            "slimrank_load_failures_total",
            "Active versions that a worker could not load.",
            ["model", "variant"],
            registry=own,
        )
        self._scrape_errors = Counter(
            "slimrank_scrape_errors_total",
            "Scrapes that could not read the job queue, or what the workers counted.",
            registry=own,
        )
        self._resident = Gauge(
            "slimrank_process_resident_bytes",
            "Resident memory of a serving process; shared pages count in each.",
            registry=own,
            multiprocess_mode="liveall",
        )
        self.measure_memory()

    def know(self, model: str, rungs: Mapping[str, Rung]) -> None:
        """What is active of a model: from now on its name and its variants' may be labels."""
        self._rungs[model] = rungs

    def forget_models(self, models: Collection[str]) -> None:
        """These models are no longer in the store."""
        for model in models:
            self._rungs.pop(model, None)

    def of(self, model: str, variant: str) -> "Tallies":
        """What is counted for a variant of a model; under empty names what only a client knows."""
        labels = self.labels_of(model, variant)
        found = self._tallies.get(labels)
        if found is None:
            found = self._tallies[labels] = Tallies(self, *labels)
        return found

    def flush(self) -> None:
        """Hand over what was counted. On the event loop's thread, like all counting.

        Raises what the last of those raised that could not be handed over; it is, with the rest of it, at another time.
        """
        failed: Exception | None = None
        for one in self._tallies.values():
            try:
                one.flush()
            except Exception as error:  # noqa: BLE001  (raised below, when the others are done)
                failed = error
        if failed is not None:
            raise failed

    def labels_of(self, model: str, variant: str) -> tuple[str, str]:
        """The names as labels: empty for what only a client knows."""
        if model not in self._rungs:
            return "", ""
        return model, variant if variant in self._rungs[model] else ""

    def load_failed(self, model: str, variant: str) -> None:
        """Count one active version that could not be loaded."""
        self._load_failures.labels(model, variant).inc()

    def measure_memory(self) -> None:
        """Note this process's resident memory."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self._resident.set(pages * os.sysconf("SC_PAGE_SIZE"))

    def exposition(self) -> bytes:
        """Everything in the Prometheus text format."""
        try:
            live = list(self._live())
        except (ServiceError, OSError) as error:
            _LOG.error("a scrape could not read the job queue: %s", error)
            self._scrape_errors.inc()
            live = list(self._of_variants())
        asked = CollectorRegistry()
        asked.register(_Asked(live))
        return self._counted() + generate_latest(asked)

    def _counted(self) -> bytes:
        """What all workers have counted."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            return generate_latest(self._own)
        registry = CollectorRegistry()
        try:
            # Of a folder that is missing the collector says no more than that a value is wrong.
            Path(folder).stat()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            return generate_latest(registry)
        except FileNotFoundError as error:
            _LOG.warning("a scrape could not read what the workers counted: %s", error)
        # Ours alone would be told as that of all. Of scrapes this is right: without it the alert would be silent.
        self._scrape_errors.inc()
        registry = CollectorRegistry()
        registry.register(self._scrape_errors)
        return generate_latest(registry)

    def _live(self) -> Iterator[Metric]:
        yield from self._of_variants()
        jobs = GaugeMetricFamily("slimrank_jobs", "Jobs in the queue's file.", labels=["state"])
        for state, count in self._queue.counts().items():
            jobs.add_metric([state], count)
        yield jobs
        durations = SummaryMetricFamily(
            "slimrank_job_duration_seconds", "Duration of the last attempt of ended jobs.", labels=["state"]
        )
        for state, (count, seconds) in self._queue.durations().items():
            durations.add_metric([state], count, seconds)
        yield durations

    def _of_variants(self) -> Iterator[Metric]:
        both = ["model", "variant"]
        info = GaugeMetricFamily("slimrank_active_info", "The active versions.", labels=[*both, "version"])
        size = GaugeMetricFamily(
            "slimrank_variant_bytes", "The active version's graph and weights.", labels=both
        )
        auc = GaugeMetricFamily(
            "slimrank_variant_auc", "The active version's AUC on the test rows.", labels=both
        )
        ratio = GaugeMetricFamily(
            "slimrank_variant_compression_ratio",
            "The baseline's bytes over the active version's.",
            labels=both,
        )
        # A copy: a scrape runs in a thread of its own, and what is active may change meanwhile.
        for model, rungs in list(self._rungs.items()):
            for variant, rung in rungs.items():
                info.add_metric([model, variant, rung.version], 1)
                size.add_metric([model, variant], rung.report.size.artifact_bytes)
                ratio.add_metric([model, variant], rung.report.size.compression_ratio)
                if rung.report.quality is not None:
                    auc.add_metric([model, variant], rung.report.quality.auc.value)
        yield from (info, size, auc, ratio)


class Tallies:
    """Everything that is counted of requests for one variant."""

    def __init__(self, metrics: Metrics, model: str, variant: str) -> None:
        self._requests = metrics.requests
        self._labels = model, variant
        self._outcomes: dict[str, Count] = {}
        self._total, self._encode, self._queue, self._infer = (
            Tally(metrics.duration, (model, variant, stage), _SECONDS)
            for stage in ("total", "encode", "queue", "infer")
        )
        self._candidates = Tally(metrics.candidates, (model,), _CANDIDATES)

    def ended(self, outcome: str, seconds: float, ranking: Ranking | None) -> None:
        """Count a request: how it ended, what it took, and the answer where there is one."""
        count = self._outcomes.get(outcome)
        if count is None:
            count = self._outcomes[outcome] = Count(self._requests.labels(*self._labels, outcome))
        count.inc()
        self._total.observe(seconds)
        if ranking is not None:
            timing = ranking.timing
            self._encode.observe(timing.encode_ms / 1e3)
            self._queue.observe(timing.queue_ms / 1e3)
            self._infer.observe(timing.infer_ms / 1e3)
            self._candidates.observe(ranking.candidates)

    def flush(self) -> None:
        """Hand it over."""
        for one in (self._total, self._encode, self._queue, self._infer, self._candidates):
            one.flush()
        for count in self._outcomes.values():
            count.flush()


class _Asked(Collector):
    """Metrics that were made for one scrape."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics
