"""Compresses a graph with one table of about 300 MB, which is there already, and prints how far its memory grew."""

import sys
from pathlib import Path

from app.compression.techniques.quantize_tables import TECHNIQUE
from app.compression.workshop import Workshop
from app.encoding import Encoder
from app.machine import this_machine
from app.schema import FeatureSchema
from app.training.graph_file import read_graph, write_graph


def ignore(done: float, what: str) -> None:
    """A progress that nobody looks at."""


def peak_bytes() -> int:
    """Of this program: what `getrusage` tells begins with the peak of the process that has started it."""
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    folder = Path(sys.argv[1])
    schema = {"features": [{"name": "item_id", "side": "item", "kind": "categorical"}]}
    encoder = Encoder(FeatureSchema.model_validate(schema), {"item_id": []}, {})
    scratch = folder / "scratch"
    workshop = Workshop(encoder, None, 0, this_machine(), ignore, scratch=scratch)
    config = TECHNIQUE.config(bits=4, clip="minmax")  # type: ignore[call-arg]
    before = peak_bytes()
    made = TECHNIQUE.apply(read_graph(folder / "model.onnx"), config, workshop)
    write_graph(made, folder / "made")
    print(peak_bytes() - before)


if __name__ == "__main__":
    main()
