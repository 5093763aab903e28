"""Clocks of a test's own: they stand still but where the test moves them."""

import time
from types import ModuleType, SimpleNamespace

import pytest
from app.serving.load import Load


class Clock:
    """Tells what the test says."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def stand_still(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> Clock:
    """The one clock that these modules have from now on."""
    clock = Clock(1000.0)
    for module in modules:
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=clock, monotonic=clock))
    return clock


def keep_load(monkeypatch: pytest.MonkeyPatch, *loads: Load) -> None:
    """Nothing that is asked of these models fades from now on, however long the test takes."""
    clock = Clock(time.perf_counter())
    for load in loads:
        for one in (load, load._own, load._fixed, load._worker):
            monkeypatch.setattr(one, "_clock", clock)
