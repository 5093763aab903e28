"""How long to wait before a process that died is started again."""

from dataclasses import dataclass

LONG_LIFE_SECONDS = 60.0
LONGEST_SECONDS = 30.0


@dataclass
class Backoff:
    """At once the first time, then 1 s, 2 s, 4 s ... up to LONGEST_SECONDS; a long life wipes the slate clean."""

    deaths: int = 0

    def seconds_after(self, life_seconds: float) -> float:
        """The wait after one more death, of a process that lived that long."""
        self.deaths = 1 if life_seconds >= LONG_LIFE_SECONDS else self.deaths + 1
        # The exponent is bounded too: 2.0 to a large power overflows after some hours of deaths.
        return 0.0 if self.deaths == 1 else min(2.0 ** min(self.deaths - 2, 10), LONGEST_SECONDS)
