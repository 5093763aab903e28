import fcntl
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from app.scratch import Scratch, scratch_folder

HOLD = """
import os, signal, sys
from pathlib import Path
from app.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1]), "work-") as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def holder(parent: Path, what: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLD, str(parent), what]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def folder_of(process: "subprocess.Popen[str]") -> Path:
    assert process.stdout is not None
    return Path(process.stdout.readline().strip())


def test_a_folder_is_there_in_the_block_and_gone_after_it(tmp_path: Path) -> None:
    with scratch_folder(tmp_path, "work-") as folder:
        assert folder.parent == tmp_path
        assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_nobody_who_may_read_the_parent_can_hold_it_up(tmp_path: Path) -> None:
    lock = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with scratch_folder(tmp_path, "work-") as folder:
            assert folder.is_dir()
    finally:
        os.close(lock)


def test_what_is_no_folder_is_left_alone_and_waited_for_by_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "work-pipe")
    (tmp_path / "work-link").symlink_to(tmp_path)
    with scratch_folder(tmp_path, "work-") as folder:
        assert folder.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work-link", "work-pipe"]


def test_folders_of_many_at_once_are_kept_by_all(tmp_path: Path) -> None:
    """Each sweeps while others make theirs: whoever's folder is swept before its lock is held takes another."""

    def work(number: int) -> bool:
        for _ in range(30):
            with scratch_folder(tmp_path, "work-") as folder:
                (folder / "file").write_text(str(number))
                if (folder / "file").read_text() != str(number):
                    return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(8)))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_owner_left_is_swept_and_a_living_ones_stays(tmp_path: Path) -> None:
    dead, living = holder(tmp_path, "die"), holder(tmp_path, "live")
    with dead, living:
        left, kept = folder_of(dead), folder_of(living)
        dead.wait(60)
        with scratch_folder(tmp_path, "work-"):
            assert not left.exists()
            assert (kept / "file").exists()
        assert living.stdin is not None
        living.stdin.close()
        assert living.wait(60) == 0
    assert not kept.exists()


def test_only_folders_of_that_prefix_are_swept(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with scratch_folder(tmp_path, "work-"):
        assert other.exists()


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with scratch_folder(tmp_path):
            pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_folder_that_was_removed_is_made_again_and_is_its_owners(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with closing(Scratch(tmp_path, "work-")) as scratch:
        assert not scratch.make_again(), "it is there"
        scratch.path.rmdir()
        assert scratch.make_again()
        with scratch_folder(tmp_path, "work-"):
            assert scratch.path.is_dir(), "it is swept"
    assert list(tmp_path.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_stands_in_the_place_of_a_removed_folder_is_left_alone(tmp_path: Path) -> None:
    with closing(Scratch(tmp_path, "work-")) as scratch:
        scratch.path.rmdir()
        scratch.path.write_text("somebody else's")
        with pytest.raises(NotADirectoryError):
            scratch.make_again()
        assert [path.name for path in tmp_path.iterdir()] == [scratch.path.name]
