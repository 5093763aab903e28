"""The demo's result file in words: the ratios first, then everything that was measured."""

from loadtest.bars_report import own_bars
from loadtest.peers_report import Result, head, peers_table, row


def demo_table(result: Result) -> str:
    """What Slimrank is of the best peer and of the empty route, and the table of all servers."""
    lines = [
        f"### Demo, `{result['model']}`: `{result['ours']}` on Slimrank, `{result['variant']}` on the peers",
        "",
        *own_bars(result),
        *head(["Candidates", "Best peer", "Slimrank, times the best peer", "Slimrank, of the empty route"]),
    ]
    for count, one in result["ratios"].items():
        times = "-" if one["of_best_peer"] is None else f"{one['of_best_peer']:.2f}x"
        lines.append(row([f"{int(count):,}", one["best_peer"] or "-", times, f"{one['of_empty_route']:.1%}"]))
    # The heading says what the servers of this table serve, which is not the same for all.
    _, _, table = peers_table(result).partition("\n\n")
    return "\n".join([*lines, "", table])
