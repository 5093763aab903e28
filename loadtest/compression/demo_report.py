"""The result file of the demo's variants in words."""

from loadtest.bars_report import own_bars
from loadtest.peers_report import Result, head, row


def demo_variants_table(result: Result) -> str:
    """What each variant keeps and gains, and whether the fastest one reaches what is aimed at."""
    lines = [f"### Variants of `{result['model']}`", ""]
    if "machine" in result:
        lines += own_bars(result)
    if result["best"] is not None:
        best, aim = result["variants"][result["best"]], result["aim"]
        faster = max(best["latency"], key=lambda one: one["candidates"])["speedup"]
        reached = "reached" if min(best["smaller"], faster) >= aim else "not reached"
        lines += [
            f"The fastest that passed is `{result['best']}`. The aim of {aim}x and {aim}x is {reached}.",
            "",
        ]
    counts = [f"{one['candidates']:,}" for one in next(iter(result["variants"].values()))["latency"]]
    heads = ["Variant", "Bytes", "Smaller", "AUC", "Keeps", "NDCG@10", "Keeps", "Distinct scores"]
    lines += head([*heads, "Moves with its batch", *(f"ms at {one}" for one in counts), "Faster", "Verdict"])
    for name, one in result["variants"].items():
        times = [f"{each['p50_ms']:.3f}" for each in one["latency"]]
        cells = [
            *(f"`{name}`", f"{one['bytes']:,}", f"{one['smaller']:.1f}x"),
            *(f"{one['auc']['value']:.4f}", f"{one['auc_kept']['low']:.2%}"),
            *(f"{one['ndcg_at_10']['value']:.4f}", f"{one['ndcg_kept']['low']:.2%}"),
            *(f"{one['distinct_score_ratio']:.1%}", f"{one['batch_difference']:.0e}", *times),
            *(f"{one['latency'][-1]['speedup']:.1f}x", one["outcome"]),
        ]
        lines.append(row(cells))
    return "\n".join(lines)
