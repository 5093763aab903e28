import subprocess
import sys
from pathlib import Path

from app.scratch import scratch_folder

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
