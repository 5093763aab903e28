"""What `slimrank serve` says of the cores at its start, and the warning where it is asked for more than there are."""

from app.settings import Settings

_MORE = (
    "{asked} are to compute on {cores}: they wait for each other, and where a cgroup sets the limit all of them are "
    "stopped until its next period begins; set {advice}, which fits"
)


def budget_lines(settings: Settings, cores: int) -> list[str]:
    """The budget, and a warning where it is not kept; `cores` are those that this process may use."""
    workers, threads = settings.workers, settings.inference_threads
    of_all = _counted(cores, "usable core")
    lines = [f"  cores        {_counted(workers, 'worker')} x {_counted(threads, 'thread')}, of {of_all}"]
    if workers * threads > cores:
        asked = _counted(workers * threads, "thread")
        lines.append(
            f"  warning      {_MORE.format(asked=asked, cores=of_all, advice=_advice(settings, cores))}"
        )
    return lines


def _advice(settings: Settings, cores: int) -> str:
    """What to change, and nothing that fits already."""
    changes = {
        "SLIMRANK_WORKERS=0": settings.workers > cores,
        "SLIMRANK_INFERENCE_THREADS=0": settings.inference_threads > max(1, cores // settings.workers),
    }
    return " and ".join(change for change, needed in changes.items() if needed)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
