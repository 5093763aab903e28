"""Runs Olive: `python -m loadtest.compression.tools.olive_job SETTING MATERIAL TARGET`."""

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from olive.data.registry import Registry
from olive.workflows import run

from loadtest.compression.calibration import feeds


class _Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self, material: str) -> None:
        self._feeds = list(feeds(Path(material)))

    def __len__(self) -> int:
        return len(self._feeds)

    def __getitem__(self, position: int) -> tuple[dict[str, Any], int]:
        if position >= len(self._feeds):
            raise IndexError(position)
        return {name: torch.from_numpy(values) for name, values in self._feeds[position].items()}, 0


@Registry.register_dataset("calibration_rows")
def calibration_rows(material: str, **_: Any) -> _Rows:
    """The calibration rows as a data set that Olive can name."""
    return _Rows(material)


def main(setting: str, material: Path, target: Path) -> None:
    """Compress the graph of `material` into `target`."""
    rows = {
        "name": "rows",
        "load_dataset_config": {"type": "calibration_rows", "params": {"material": str(material)}},
        "pre_process_data_config": {"type": "skip_pre_process"},
        "dataloader_config": {"type": "no_auto_batch_dataloader"},
    }
    static = {"type": "OnnxStaticQuantization", "data_config": "rows"}
    passes: dict[str, dict[str, Any]] = {
        "dynamic": {"quantize": {"type": "OnnxDynamicQuantization"}},
        "static": {"quantize": static},
        "peephole+static": {"peephole": {"type": "OnnxPeepholeOptimizer"}, "quantize": static},
    }[setting]
    work = target / "work"
    output = run(
        {
            "input_model": {"type": "ONNXModel", "model_path": str(material / "model.onnx")},
            "data_configs": [rows],
            "passes": passes,
            "output_dir": str(work / "output"),
            "cache_dir": str(work / "cache"),
            "no_artifacts": True,
        }
    )
    best = output.get_best_candidate()
    for path in Path(best.model_path).parent.glob("*.onnx*"):
        name = "model.onnx" if path == Path(best.model_path) else path.name
        shutil.copy(path, target / name)
    shutil.rmtree(work)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
