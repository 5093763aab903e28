"""What Prometheus is told of shadow scoring: how requests ended there, and how alike the rankings were."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from app.serving.fidelity import Fidelity

Labels = tuple[str, str, str]
"""The model, the variant that answered, and the variant that it is compared with."""
_LABELS = ("model", "variant", "against")
_OVERLAP = tuple(tenths / 10 for tenths in range(11))
# Finest near 1, where variants that kept their quality stand. All that is negative is in the first bucket.
_TAU = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 1.0)
_DISTANCE = (0.0, 1e-5, 1e-4, 3e-4, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_SIGNED = (*(-one for one in reversed(_DISTANCE[1:])), *_DISTANCE)


class ShadowMetrics:
    """The metrics, in a registry that others share."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "slimrank_shadow_requests_total",
            "Answered requests that were sampled for a shadow, by outcome.",
            [*_LABELS, "outcome"],
            registry=registry,
        )

        def histogram(name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, what, _LABELS, buckets=buckets, registry=registry)

        self._overlap = histogram(
            "slimrank_shadow_overlap_at_10", "Share of the shadow's first ten in the answer's.", _OVERLAP
        )
        self._tau = histogram(
            "slimrank_shadow_kendall_tau", "Kendall's tau-b between answer and shadow.", _TAU
        )
        self._difference = histogram(
            "slimrank_shadow_score_difference", "Mean score of an answer less the shadow's.", _SIGNED
        )
        self._distance = histogram(
            "slimrank_shadow_score_distance",
            "Mean absolute difference between scores of answer and shadow.",
            _DISTANCE,
        )

    def ended(self, labels: Labels, outcome: str) -> None:
        """Count a sampled request."""
        self._requests.labels(*labels, outcome).inc()

    def compared(self, labels: Labels, found: Fidelity) -> None:
        """Note how alike two rankings were."""
        self._overlap.labels(*labels).observe(found.overlap_at_10)
        self._tau.labels(*labels).observe(found.kendall_tau)
        self._difference.labels(*labels).observe(found.mean_difference)
        self._distance.labels(*labels).observe(found.mean_absolute_difference)
