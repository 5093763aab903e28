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


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files of cgroups are put; the affinity is 64 cores, and no cgroup limits them yet."""
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    (tmp_path / "own").write_text("0::/\n")
    return tmp_path


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("max 100000", 64),
        ("100000 100000", 1),
        ("250000 100000", 2),
        ("150000 100000", 1),
        ("50000 100000", 1),
        ("199999 100000", 1),
        ("75000 25000", 3),
        ("6400000 100000", 64),
        ("12800000 100000", 64),
    ],
)
def test_cores_are_those_of_the_affinity_and_the_limit(cgroups: Path, limit: str, cores: int) -> None:
    (cgroups / "cpu.max").write_text(limit + "\n")
    assert usable_cores() == cores


def test_the_tightest_limit_of_all_cgroups_above_holds(cgroups: Path) -> None:
    """As with systemd, whose `CPUQuota` limits the cgroup of a service: the top one has no file at all."""
    own = cgroups / "system.slice" / "slimrank.service"
    own.mkdir(parents=True)
    (cgroups / "own").write_text("0::/system.slice/slimrank.service\n")
    (own / "cpu.max").write_text("400000 100000\n")
    assert usable_cores() == 4
    (own.parent / "cpu.max").write_text("300000 100000\n")
    assert usable_cores() == 3


def test_a_path_of_the_host_is_not_there_in_a_container_and_the_top_counts(cgroups: Path) -> None:
    (cgroups / "own").write_text("0::/docker/0123:456\n")
    (cgroups / "cpu.max").write_text("200000 100000\n")
    assert usable_cores() == 2


@pytest.mark.parametrize(("quota", "cores"), [("-1", 64), ("300000", 3), ("150000", 1), ("50000", 1)])
def test_limits_of_the_first_version_hold_as_well(cgroups: Path, quota: str, cores: int) -> None:
    own = cgroups / "cpu" / "docker" / "0123"
    own.mkdir(parents=True)
    (cgroups / "own").write_text("9:name=systemd:/\n3:cpuset:/\n1:cpu,cpuacct:/docker/0123\n0::/\n")
    (own / "cpu.cfs_quota_us").write_text(quota + "\n")
    (own / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores() == cores


def test_without_a_limit_the_affinity_decides(cgroups: Path) -> None:
    assert usable_cores() == 64
    (cgroups / "own").unlink()
    assert usable_cores() == 64


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
