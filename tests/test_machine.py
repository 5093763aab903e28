"""The facts of the machine, from its real files and from files of others."""

import os
from importlib import metadata
from pathlib import Path

import pytest
from app import machine
from app.machine import int8_saturates, this_machine, usable_cores
from app.report import Machine

X86 = """\
processor\t: 0
model name\t: A fast processor @ 3.00GHz
flags\t\t: fpu sse4_2 avx2 avx512_vnni
processor\t: 1
model name\t: A fast processor @ 3.00GHz
flags\t\t: fpu sse4_2 avx2 avx512_vnni
"""
ARM = """\
processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd asimddp i8mm
"""


def of(*instruction_sets: str) -> Machine:
    return Machine("a processor", list(instruction_sets), 2, 2**30, "6.1", "1.32")


def test_this_machine_is_described() -> None:
    found = this_machine()
    assert found.processor
    assert found.instruction_sets == sorted(set(found.instruction_sets))
    assert found.instruction_sets, "onnxruntime's wheels need one of these at least"
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert found.memory_bytes > 2**27
    assert found.kernel == Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert found.onnxruntime == metadata.version("onnxruntime")


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("max 100000", 64),
        ("100000 100000", 1),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("6400000 100000", 64),
        ("12800000 100000", 64),
    ],
)
def test_cores_are_those_of_the_affinity_and_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, cores: int
) -> None:
    (tmp_path / "cpu.max").write_text(limit + "\n")
    monkeypatch.setattr(machine, "_CGROUP_CPU_LIMIT", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert usable_cores() == cores


def test_without_a_limit_the_affinity_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_CGROUP_CPU_LIMIT", tmp_path / "none")
    assert usable_cores() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("instruction_sets", "saturates"),
    [
        (("sse4_2",), True),
        (("sse4_2", "avx2", "avx512f", "avx512bw"), True),
        (("sse4_2", "avx2", "avx512_vnni"), False),
        (("sse4_2", "avx2", "avx_vnni"), False),
        (("asimd", "asimddp"), False),
        (("asimd",), False),
    ],
)
def test_int8_saturates_on_x86_without_vnni(instruction_sets: tuple[str, ...], saturates: bool) -> None:
    assert int8_saturates(of(*instruction_sets)) is saturates


@pytest.mark.parametrize(
    ("text", "processor", "instruction_sets"),
    [
        (X86, "A fast processor @ 3.00GHz", ["avx2", "avx512_vnni", "sse4_2"]),
        (ARM, os.uname().machine, ["asimd", "asimddp", "i8mm"]),
    ],
    ids=["x86", "arm"],
)
def test_processors_are_read_on_both_architectures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, processor: str, instruction_sets: list[str]
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "_CPU_INFO", tmp_path / "cpuinfo")
    found = this_machine.__wrapped__()
    assert (found.processor, found.instruction_sets) == (processor, instruction_sets)
