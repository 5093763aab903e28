"""The memory's result file in words."""

from loadtest.bars import failures_of
from loadtest.bars_report import own_bars
from loadtest.peers_report import Result, head, row


def memory_table(result: Result) -> str:
    """Proportional, resident and private memory for each number of workers."""
    lines = [
        f"### Memory of several workers, {result['model']}",
        "",
        *own_bars(result),
        *head(
            [
                *("Workers", "PSS MB", "of one worker", "RSS MB", "private MB", "PSS MB before the load"),
                *("of the table touched by each", "processes", "requests", "failures"),
            ]
        ),
    ]
    one_worker = result["by_workers"].get("1", {}).get("memory", {}).get("proportional_bytes")
    for workers, one in result["by_workers"].items():
        memory = one["memory"]
        times = "-" if one_worker is None else f"{memory['proportional_bytes'] / one_worker:.2f}x"
        private = sum(process["private_bytes"] for process in one["processes"])
        sizes = [memory["resident_bytes"], private, one["memory_at_rest"]["proportional_bytes"]]
        cells = [workers, f"{memory['proportional_bytes'] / 1e6:,.0f}", times]
        cells += [f"{size / 1e6:,.0f}" for size in sizes]
        touched = (f"{size / result['table_bytes']:.0%}" for size in one["table_touched_bytes"])
        cells.append(", ".join(touched) or "not mapped")
        cells += [
            str(memory["processes"]),
            f"{sum(one['outcomes'].values()):,}",
            str(failures_of(one["outcomes"])),
        ]
        lines.append(row(cells))
    return "\n".join(lines)
