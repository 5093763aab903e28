"""The machine that figures are taken on: what its processor can do decides which int8 kernels run, and how exact."""

import ctypes
import os
import platform
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

from app.report import Machine

# Instruction sets that decide which kernels onnxruntime picks on x86-64 and AArch64.
_RELEVANT = {
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni"),
    *("avx512_bf16", "avx_vnni_int8", "amx_int8", "amx_tile", "asimd", "asimddp", "i8mm", "sve"),
}
_CPU_INFO = Path("/proc/cpuinfo")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


@cache
def this_machine() -> Machine:
    """The facts of this machine. Cores are those this process may use, under its affinity and its cgroup's limit."""
    processor, flags = _processor()
    return Machine(
        processor=processor,
        instruction_sets=sorted(_RELEVANT & flags),
        cores=usable_cores(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
        onnxruntime=metadata.version("onnxruntime"),
    )


def usable_cores() -> int:
    """Cores that this process may use, under its affinity and the limits of its cgroup and those above: at least 1."""
    return max(1, min([len(os.sched_getaffinity(0)), *map(int, _cgroup_cores())]))


def _cgroup_cores() -> Iterator[float]:
    """Every limit in cores that holds for this process: of both versions of cgroups."""
    for line in _OWN_CGROUPS.read_text().splitlines() if _OWN_CGROUPS.exists() else ():
        _, controllers, own = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = _CGROUPS / "cpu" if controllers else _CGROUPS
        place = top / own.lstrip("/")
        # In a container without a name space of its own, the path is that of the host, and only the top is there.
        for folder in (place, *place.parents):
            quota, period = _quota_v1(folder) if controllers else _quota_v2(folder)
            if quota > 0 and period > 0:
                yield quota / period
            if folder == top:
                break


def _quota_v1(folder: Path) -> tuple[int, int]:
    """Microseconds of processor time, and in how many; (0, 0): no limit."""
    files = folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"
    if not all(one.exists() for one in files):
        return 0, 0
    quota, period = (int(one.read_text()) for one in files)
    return quota, period


def _quota_v2(folder: Path) -> tuple[int, int]:
    """As `_quota_v1`."""
    limit = folder / "cpu.max"
    quota, period = limit.read_text().split() if limit.exists() else ("max", "0")
    return (0, 0) if quota == "max" else (int(quota), int(period))


def give_back() -> None:
    """Give freed memory back to the system, where the C library can (glibc): see _MALLOC in app/supervisor.py."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def int8_saturates(machine: Machine) -> bool:
    """Whether uint8 x int8 products overflow 16 bits on the way: on x86 without VNNI, weights must keep to 7 bits."""
    on_x86 = "sse4_2" in machine.instruction_sets
    return on_x86 and not {"avx512_vnni", "avx_vnni"} & set(machine.instruction_sets)


def _processor() -> tuple[str, set[str]]:
    name, flags = platform.machine(), set[str]()
    for line in _CPU_INFO.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip().lower() in {"flags", "features"}:
            flags = set(value.split())
    return name, flags
