"""The machine that figures are taken on: what its processor can do decides which int8 kernels run, and how exact."""

import ctypes
import os
import platform
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
_CGROUP_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")


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
    """Cores that this process may use: at least 1."""
    cores = len(os.sched_getaffinity(0))
    if _CGROUP_CPU_LIMIT.exists():
        quota, period = _CGROUP_CPU_LIMIT.read_text().split()
        if quota != "max":
            cores = min(cores, int(quota) // int(period))
    return max(1, cores)


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
