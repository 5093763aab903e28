"""The facts that a figure is worth nothing without: the machine, the versions, the commit."""

import os
import platform
import re
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "i8mm")
_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ ")
_VERSIONS = ("onnxruntime", "fastapi", "uvicorn", "numpy")


def facts() -> dict[str, Any]:
    """Everything that a result file says of where and when it was measured."""
    processor, flags = _processor()
    return {
        "processor": processor,
        "flags": [flag for flag in _FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in _VERSIONS},
        "commit": commit_at_the_start(),
        "commit_at_the_end": _commit(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average": os.getloadavg()[0],
    }


def _processor() -> tuple[str, set[str]]:
    name, flags = platform.machine(), set[str]()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip().lower() in {"flags", "features"}:
            flags = set(value.split())
    return name, flags


@cache
def commit_at_the_start() -> str:
    """What runs: the commit when this was first asked for, which whoever measures does before anything else."""
    return _commit()


def _commit() -> str:
    folder = Path(__file__).parent
    ran = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=folder, capture_output=True, text=True, check=False
    )
    return ran.stdout.strip() if ran.returncode == 0 else "unknown"


def memory_of_tree(pid: int) -> dict[str, int]:
    """Resident and proportional bytes of a process and everything below it."""
    each = memory_of_processes(pid)
    total = {kind: sum(one[kind] for one in each) for kind in ("resident_bytes", "proportional_bytes")}
    return {**total, "processes": len(each)}


def memory_of_processes(pid: int) -> list[dict[str, int]]:
    """Resident, proportional and private bytes of each process of a tree."""
    found = []
    for one in tree_of(pid):
        try:
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
        found.append(
            {
                "resident_bytes": kilobytes["Rss"] * 1024,
                "proportional_bytes": kilobytes["Pss"] * 1024,
                "private_bytes": (kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]) * 1024,
            }
        )
    return found


def mapped_of_tree(pid: int, file_name: str) -> list[int]:
    """For each process of a tree that maps a file of that name: how many of the file's bytes it has touched."""
    found = []
    for one in tree_of(pid):
        touched, within = 0, False
        with suppress(FileNotFoundError, ProcessLookupError):
            for line in Path(f"/proc/{one}/smaps").read_text().splitlines():
                if _MAPPING.match(line):
                    within = line.endswith(f"/{file_name}")
                elif within and line.startswith("Rss:"):
                    touched += int(line.split()[1]) * 1024
        if touched:
            found.append(touched)
    return found


def resident_of_tree(pid: int) -> int:
    """Resident bytes of a process and everything below it, shared pages in each; cheap enough to be asked often."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for one in tree_of(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * page
    return total


def compressor_cpu_seconds(pid: int) -> float:
    """Seconds of processor time that the compressor's process below `pid` has taken so far; 0 without one."""
    ticks = 0
    for one in tree_of(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            if b"compressor" in Path(f"/proc/{one}/cmdline").read_bytes():
                fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def tree_of(pid: int) -> list[int]:
    """The process and everything below it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(folder.name))
    found, open_pids = [], [pid]
    while open_pids:
        one = open_pids.pop()
        found.append(one)
        open_pids += children.get(one, [])
    return found
