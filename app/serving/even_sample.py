"""A share of what comes, met evenly and without chance."""

import math

# The multiples of the golden ratio, without their whole part, fill 0 to 1 evenly and have no period: whatever pattern
# requests come in, the share is met, and met for each kind of them.
_GOLDEN = (math.sqrt(5) - 1) / 2


class EvenSample:
    """Says of each thing that comes whether it is in the sample; the share may change in between."""

    def __init__(self) -> None:
        self._place = 0.0

    def takes(self, share: float) -> bool:
        """Whether the next one is, where `share` of all are: 0 or less takes none, 1 or more takes all."""
        self._place = (self._place + _GOLDEN) % 1.0
        return self._place < share
