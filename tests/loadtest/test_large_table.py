"""How much memory a large table takes to compress: the command's figures, by a table that is not large."""

from pathlib import Path

import pytest
from loadtest.compression.large_table import BAR_BYTES, VARIANT, compress, figures
from loadtest.compression.large_table_report import large_table_table
from loadtest.memory_model import LargeModel

RECIPES = f"""
[[recipes]]
name = "{VARIANT}"
steps = [{{ technique = "quantize_tables", bits = 4 }}]
"""


def test_a_table_is_compressed_under_watch(tmp_path: Path) -> None:
    model = LargeModel(tmp_path, 12_800_000, dimension=32, recipes=RECIPES)
    assert model.table_bytes == 12_800_000
    model.write()
    ran = compress(model)
    memory, reports = ran["memory"], ran["reports"]
    assert reports.keys() == {"baseline", VARIANT}
    assert memory["resident"] > memory["anonymous"] > 0
    # Codes of half a byte, and a low and a step in fp16 for each row of 32 numbers: 20 of 128 bytes.
    share = reports[VARIANT]["size"]["artifact_bytes"] / reports["baseline"]["size"]["artifact_bytes"]
    assert share == pytest.approx(20 / 128, rel=0.02)
    found = figures("bits = 4", model.table_bytes, ran)
    assert found["bars"] == [], "the bar is about 4 GB"
    assert "| `bits = 4` | 0.01 GB |" in large_table_table(found)


def test_the_bar_is_about_the_peak_of_a_large_table() -> None:
    report = {"size": {"artifact_bytes": 1}, "seconds": 2.0}
    for resident, met in ((1_499_000_000, True), (1_501_000_000, False)):
        ran = {"memory": {"resident": resident, "anonymous": 1}, "seconds": 3.0, "reports": {VARIANT: report}}
        found = figures("bits = 4", int(BAR_BYTES), ran)
        assert [bar["met"] for bar in found["bars"]] == [met]
        assert found["megabytes_per_second"] == BAR_BYTES / 1e6 / 2


def test_a_command_that_fails_is_quoted(tmp_path: Path) -> None:
    model = LargeModel(tmp_path, 12_800_000, recipes=RECIPES.replace("bits = 4", "bits = 5"))
    model.write()
    with pytest.raises(SystemExit, match="bits"):
        compress(model)
