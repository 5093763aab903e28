"""What a service exports of its shadow: read from /metrics before and after a turn."""

import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from loadtest.fidelity import Told

_PREFIX = "slimrank_shadow_"


@dataclass(frozen=True)
class Exported:
    """Everything that has `slimrank_shadow_` before its name, of one model, one variant and one shadow."""

    outcomes: Mapping[str, int]
    """Sampled requests by what became of them."""
    values: Mapping[str, float]
    """Sums and counts of the histograms by the rest of their names, such as `kendall_tau_sum`."""
    difference: Mapping[float, float]
    """By upper bound, how many comparisons had a mean score difference that is not above it."""

    @property
    def sampled(self) -> int:
        """Requests that were sampled, whatever became of them."""
        return sum(self.outcomes.values())

    def since(self, before: "Exported") -> "Exported":
        """What has come between two scrapes."""
        return Exported(
            {
                name: count - before.outcomes.get(name, 0)
                for name, count in self.outcomes.items()
                if count != before.outcomes.get(name, 0)
            },
            {name: value - before.values.get(name, 0.0) for name, value in self.values.items()},
            {bound: count - before.difference.get(bound, 0.0) for bound, count in self.difference.items()},
        )

    def and_also(self, other: "Exported") -> "Exported":
        """Both together: what several turns exported."""
        outcomes: Counter[str] = Counter(self.outcomes) + Counter(other.outcomes)
        names, bounds = {**self.values, **other.values}, {**self.difference, **other.difference}
        return Exported(
            dict(outcomes),
            {name: self.values.get(name, 0.0) + other.values.get(name, 0.0) for name in names},
            {bound: self.difference.get(bound, 0.0) + other.difference.get(bound, 0.0) for bound in bounds},
        )

    def told(self) -> Told | None:
        """Means and shares as a dashboard would show them; None without a comparison."""
        count = int(self.values.get("overlap_at_10_count", 0.0))
        if not count:
            return None
        of_difference = self.values["score_difference_count"]
        shares = {bound: found / of_difference for bound, found in sorted(self.difference.items())}
        means = (self._mean("overlap_at_10"), self._mean("kendall_tau"), self._mean("score_distance"))
        return Told(count, *means, shares)

    def _mean(self, name: str) -> float:
        """By the histogram's own sum and count, so that one which misses a comparison shows."""
        return self.values[f"{name}_sum"] / self.values[f"{name}_count"]


NOTHING = Exported({}, {}, {})


def exported(port: int, model: str, variant: str, against: str) -> Exported:
    """Scrape a service on this machine."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    return read(text, model, variant, against)


def read(text: str, model: str, variant: str, against: str) -> Exported:
    """What a scrape says of one shadow."""
    wanted = {"model": model, "variant": variant, "against": against}
    outcomes: dict[str, int] = {}
    values: dict[str, float] = {}
    difference: dict[float, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples if family.name.startswith(_PREFIX) else ():
            if not wanted.items() <= sample.labels.items():
                continue
            name = sample.name.removeprefix(_PREFIX)
            if name == "requests_total":
                outcomes[sample.labels["outcome"]] = int(sample.value)
            elif name == "score_difference_bucket":
                difference[float(sample.labels["le"])] = sample.value
            elif name.endswith(("_sum", "_count")):
                values[name] = sample.value
    return Exported(outcomes, values, difference)
