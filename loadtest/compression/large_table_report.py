"""The result file of a large table in words."""

from loadtest.bars_report import own_bars
from loadtest.peers_report import Result, head, row


def large_table_table(result: Result) -> str:
    """What it took to compress the table, in a Markdown table of one row."""
    lines = [f"### Compressing {result['model']}", ""]
    if "machine" in result:
        lines += own_bars(result)
    heads = ["Settings", "Table", "Artifact", "Share", "Peak resident", "of it anonymous", "Variant made in"]
    lines += head([*heads, "Speed", "Whole command"])
    cells = [
        *(f"`{result['settings']}`", f"{result['table_bytes'] / 1e9:.2f} GB"),
        f"{result['artifact_bytes'] / 1e9:.2f} GB",
        f"{result['artifact_bytes'] / result['table_bytes']:.2%}",
        f"{result['peak_resident_bytes'] / 1e9:.2f} GB",
        f"{result['peak_anonymous_bytes'] / 1e9:.2f} GB",
        *(f"{result['variant_seconds']:.0f} s", f"{result['megabytes_per_second']:.0f} MB/s"),
        f"{result['command_seconds']:.0f} s",
    ]
    return "\n".join([*lines, row(cells)])
