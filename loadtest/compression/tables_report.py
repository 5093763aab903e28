"""The result file of coded tables in words."""

from loadtest.bars_report import own_bars
from loadtest.peers_report import Result, head, row


def tables_table(result: Result) -> str:
    """What each form of the tables takes and keeps, model by model."""
    lines = ["### Tables in small codes, nothing trained again", ""]
    if "machine" in result:
        lines += own_bars(result)
    heads = [
        "Model",
        "Tables",
        "Bytes",
        "Of fp32",
        "AUC",
        "Change",
        "Keeps at least",
        "Largest change of a score",
    ]
    lines += head(heads)
    for model, variants in result["models"].items():
        for name, one in variants.items():
            cells = [
                *(f"`{model}`", f"`{name}`", f"{one['table_bytes']:,}", f"{one['share']:.2%}"),
                *(f"{one['auc']['value']:.5f}", f"{one['auc_change']:+.5f}", f"{one['auc_kept']['low']:.3%}"),
                f"{one['largest_score_difference']:.3f}",
            ]
            lines.append(row(cells))
    return "\n".join(lines)
