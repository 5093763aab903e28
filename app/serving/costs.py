"""What runs of a session take: seconds as `a + b * rows`, from timings at the start and from every run since."""

from collections.abc import Sequence

_KEPT = 0.97
"""Weight of what was known before, for each run: about the last thirty runs count."""
_SCALE_STEP = 0.05
_SAME_PACE = 0.01
_FIT_EVERY = 4
_OUTLIER = 4.0
_LEAST_SECONDS = 1e-7


class RunCost:
    """A line through timings, fitted by least squares of relative errors; older runs weigh less and less.

    The first timings, pairs of rows and seconds, stay in the fit, scaled to how fast the machine is now: traffic of one
    size alone would not tell the slope.
    """

    def __init__(self, timings: Sequence[tuple[int, float]]) -> None:
        self._timed = _Sums()
        for rows, seconds in timings:
            expected = max(seconds, _LEAST_SECONDS)
            self._timed.add(rows, expected, expected)
        self._base, self._slope = self._timed.line()
        self._first = self._base, self._slope
        self._scale = self._own_scale = 1.0
        self._seen = _Sums()
        self._unfitted = 0

    def seconds(self, rows: int) -> float:
        """What a run of so many rows should take."""
        return self._base + self._slope * rows

    @property
    def scale(self) -> float:
        """How many times as long as their first timings runs take lately."""
        return self._scale

    def keep_pace(self, scale: float) -> None:
        """Reckon with runs that take so many times as long as their first timings, or as long as its own last ones."""
        wanted = max(self._own_scale, scale)
        if abs(wanted - self._scale) > _SAME_PACE * self._scale:
            self._scale, self._seen = wanted, _Sums()
            self._base, self._slope = self._timed.scaled(wanted).line()

    def rows_within(self, seconds: float) -> int:
        """How many rows a run of so many seconds takes; at least one."""
        if self._slope <= 0:
            return 1 << 40
        return max(1, int((seconds - self._base) / self._slope))

    def note(self, rows: int, seconds: float) -> None:
        """Learn from a run. One that took far longer than expected was interrupted, and counts as a slow one only."""
        expected = max(self.seconds(rows), _LEAST_SECONDS)
        seconds = max(min(seconds, _OUTLIER * expected), expected / _OUTLIER)
        base, slope = self._first
        found = seconds / (base + slope * rows)
        self._scale += _SCALE_STEP * (found - self._scale)
        self._own_scale += _SCALE_STEP * (found - self._own_scale)
        self._seen.fade(_KEPT)
        self._seen.add(rows, seconds, expected)
        self._unfitted += 1
        if self._unfitted >= _FIT_EVERY:
            self._unfitted = 0
            self._base, self._slope = self._timed.scaled(self._scale).plus(self._seen).line()


class _Sums:
    """The sums of a weighted least-squares line; each timing weighs the inverse square of what was expected."""

    __slots__ = ("w", "wx", "wxx", "wxy", "wy")

    def __init__(
        self, w: float = 0.0, wx: float = 0.0, wxx: float = 0.0, wy: float = 0.0, wxy: float = 0.0
    ) -> None:
        self.w, self.wx, self.wxx, self.wy, self.wxy = w, wx, wxx, wy, wxy

    def add(self, rows: int, seconds: float, expected: float) -> None:
        weight = 1.0 / (expected * expected)
        self.w += weight
        self.wx += weight * rows
        self.wxx += weight * rows * rows
        self.wy += weight * seconds
        self.wxy += weight * rows * seconds

    def fade(self, kept: float) -> None:
        self.w *= kept
        self.wx *= kept
        self.wxx *= kept
        self.wy *= kept
        self.wxy *= kept

    def scaled(self, scale: float) -> "_Sums":
        """The sums as if every timing had taken `scale` times as long."""
        square = scale * scale
        return _Sums(self.w / square, self.wx / square, self.wxx / square, self.wy / scale, self.wxy / scale)

    def plus(self, other: "_Sums") -> "_Sums":
        return _Sums(
            self.w + other.w,
            self.wx + other.wx,
            self.wxx + other.wxx,
            self.wy + other.wy,
            self.wxy + other.wxy,
        )

    def line(self) -> tuple[float, float]:
        """Seconds at no rows, and seconds for each row; neither is negative."""
        spread = self.w * self.wxx - self.wx * self.wx
        # A spread that is nothing but rounding says nothing of the slope.
        slope = (self.w * self.wxy - self.wx * self.wy) / spread if spread > 1e-9 * self.w * self.wxx else 0.0
        base = (self.wy - slope * self.wx) / self.w
        if slope < 0:
            return self.wy / self.w, 0.0
        if base < 0:
            return 0.0, self.wxy / self.wxx
        return base, slope
