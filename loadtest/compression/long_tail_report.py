"""The result file of the long tail in words."""

from loadtest.bars_report import in_words
from loadtest.peers_report import Result, head, machine_line, row


def long_tail_table(result: Result) -> str:
    """What each variant takes and keeps; how close the baseline comes to the best AUC there is."""
    plan, variants = result["plan"], result["variants"]
    baseline = variants["baseline"]
    auc, best = baseline["auc"]["value"], result["bayes_optimal_auc"]
    heading = f"### A long tail: {result['model']}, {plan['interactions']:,} rows"
    lines = [
        *(heading, ""),
        *([machine_line(result), ""] if "machine" in result else []),
        *(f"{in_words(bar)}.\n" for bar in result["bars"]),
        (
            f"{plan['architecture']}, tables of {plan['dimension']} numbers a row; AUC on {baseline['rows']:,} test "
            f"rows. The baseline's is {auc:.4f}, the Bayes-optimal one {best:.4f}: {auc / best:.1%} of it, or "
            f"{(auc - 0.5) / (best - 0.5):.1%} of what it has above chance. Trained in "
            f"{result['seconds']['train']:,.0f} s, all variants made and measured in "
            f"{result['seconds']['compress']:,.0f} s."
        ),
        "",
        *head(
            [
                *("Variant", "Bytes", "Smaller", "Item table, of fp32", "AUC", "Keeps", "At least"),
                *("Tail items keep", "Cold users keep", "Made in", "Verdict"),
            ]
        ),
    ]
    for name, one in variants.items():
        slices = {each["name"]: each["auc"] / each["baseline_auc"] for each in one["slices"]}
        kept = one["auc_kept"]
        cells = [
            *(f"`{name}`", f"{one['bytes']:,}", f"{one['smaller']:.1f}x"),
            f"1/{baseline['table_bytes'] / one['table_bytes']:.1f}",
            *(f"{one['auc']['value']:.4f}", f"{kept['value']:.2%}", f"{kept['low']:.2%}"),
            *(f"{slices[part]:.2%}" if part in slices else "-" for part in ("tail_items", "cold_users")),
            *(f"{one['seconds']:,.0f} s", one["outcome"]),
        ]
        lines.append(row(cells))
    return "\n".join(lines)
