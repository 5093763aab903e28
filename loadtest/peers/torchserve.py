"""TorchServe: a custom handler behind its Java front end. It needs Java 11 or newer."""

import json
import shutil
from pathlib import Path

from loadtest.servers import Server, free_port

_HANDLER = Path(__file__).parent / "torchserve_app.py"
_BATCH = 8
_DELAY_MS = 1
# No line for each request, as with every other side.
_QUIET = """<Configuration><Appenders><Console name="console"/></Appenders>
<Loggers><Root level="warn"><AppenderRef ref="console"/></Root></Loggers></Configuration>
"""


def _command(folder: Path, port: int) -> list[str]:
    store = folder / "torchserve"
    model = store / "rank"
    (model / "MAR-INF").mkdir(parents=True, exist_ok=True)
    shutil.copy(_HANDLER, model / _HANDLER.name)
    config = {"minWorkers": 1, "maxWorkers": 1, "batchSize": _BATCH, "maxBatchDelay": _DELAY_MS}
    # YAML reads JSON.
    (model / "model-config.yaml").write_text(json.dumps(config))
    described = {
        "modelName": "rank",
        "handler": _HANDLER.name,
        "modelVersion": "1.0",
        "configFile": "model-config.yaml",
    }
    manifest = {"runtime": "python", "model": described, "archiverVersion": "0.12.0"}
    (model / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
    settings = {
        "inference_address": f"http://127.0.0.1:{port}",
        "management_address": f"http://127.0.0.1:{free_port()}",
        "metrics_address": f"http://127.0.0.1:{free_port()}",
        "grpc_inference_port": free_port(),
        "grpc_management_port": free_port(),
        "initial_worker_port": free_port(),
        "default_workers_per_model": 1,
        "number_of_netty_threads": 1,
        "netty_client_threads": 1,
        "async_logging": "true",
        "job_queue_size": 1000,
    }
    properties = store / "config.properties"
    properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    (store / "log4j2.xml").write_text(_QUIET)
    binaries = SERVER.home / "bin"
    where = ("--ts-config", str(properties), "--model-store", str(store), "--models", "rank=rank")
    # The front end starts the worker with the `python` that it finds on the path.
    environment = (f"PATH={binaries}:/usr/bin:/bin", f"RANKER_FOLDER={folder}", f"LOG_LOCATION={store}")
    flags = (
        "--start",
        "--foreground",
        "--disable-token-auth",
        "--ncs",
        *where,
        "--log-config",
        str(store / "log4j2.xml"),
    )
    return ["env", *environment, f"METRICS_LOCATION={store}", str(binaries / "torchserve"), *flags]


SERVER = Server(
    name="torchserve",
    command=_command,
    path="/predictions/rank",
    requirements=(
        "torchserve==0.12.0",
        "onnxruntime==1.32.0",
        "numpy==2.4.6",
        "pyyaml==6.0.3",
        "torch==2.13.0",
    ),
    note=(
        "a custom handler, one worker, batches of at most 8 requests within 1 ms, one netty thread, warnings only in "
        "its log (docs.pytorch.org/serve: performance_guide, batch_inference_with_ts)"
    ),
)
