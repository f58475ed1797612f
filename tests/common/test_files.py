"""Files that are whole or absent: under failing writers, on full disks, and between two processes."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import (
    atomic_path,
    file_digest,
    json_digest,
    link_or_copy,
    read_columns,
    read_json,
    save_tensors,
    write_json,
    write_text,
)
from collabpipe.data.fetch import fetch
from collabpipe.plan.paths import Paths
from collabpipe.plan.recipes import DataRecipe
from collabpipe.results.store import Store

COLLABPIPE = Path(sys.executable).parent / "collabpipe"


def listing(folder: Path) -> list[str]:
    """Every file below a folder, hidden ones too, but for locks, which stay where they were taken once."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return sorted(str(path.relative_to(folder)) for path in files)


# --- atomic writing ---------------------------------------------------------------------------------------------------


def test_a_written_file_is_there_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "er" / "a.txt", "naïve ±")

    assert (tmp_path / "deep" / "er" / "a.txt").read_text(encoding="utf-8") == "naïve ±"
    assert listing(tmp_path) == ["deep/er/a.txt"]


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    with atomic_path(target) as temporary:
        temporary.write_text("new, but only half")
        assert target.read_text() == "old"
        assert temporary.parent == target.parent, "a rename is atomic within one file system alone"

    assert target.read_text() == "new, but only half"


def write_half(target: Path, error: type[BaseException]) -> None:
    """A writer that fails in the middle."""
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, CollabpipeError, MemoryError])
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_beside_it(
    error: type[BaseException], tmp_path: Path
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    with pytest.raises(error):
        write_half(target, error)

    assert target.read_text() == "old"
    assert listing(tmp_path) == ["a.txt"]


def test_a_writer_that_fails_the_first_time_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (what is raised is the writer's affair)
        write_half(tmp_path / "a.txt", ValueError)

    assert listing(tmp_path) == []


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(CollabpipeError, match=r"cannot write .*file/a\.txt"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_written_files_can_be_read_by_everybody(tmp_path: Path) -> None:
    # A temporary file is its owner's alone; a result on a shared disk is not.
    write_text(tmp_path / "a.txt", "x")

    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_read_while_another_is_written_is_told(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"

    def read() -> None:
        with atomic_path(target):
            raise OSError(errno.EIO, "Input/output error", str(source))

    with pytest.raises(CollabpipeError, match=f"^{source}: cannot be read: Input/output error"):
        read()


@pytest.mark.parametrize("durable", [True, False])
def test_a_rename_outlives_a_power_failure_if_that_is_asked_for(
    durable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[str, list[str]]] = []

    def fsync(opened: int) -> None:
        flushed.append((str(Path(f"/proc/self/fd/{opened}").readlink()), listing(tmp_path)))
        if len(flushed) == 2:
            raise OSError(errno.EINVAL, "a folder of a file system that flushes none")

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "a.txt", "x", durable)

    assert listing(tmp_path) == ["a.txt"]
    assert [(name, there) for name, there in flushed[1:]] == ([(str(tmp_path), ["a.txt"])] if durable else [])


# --- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk; the test by RLIMIT_FSIZE covers the same")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_the_old_file_stays(small_disk: Path) -> None:
    target = small_disk / "a.txt"
    target.write_text("old")

    with pytest.raises(CollabpipeError) as caught:
        write_text(target, "x" * 100_000)

    reason = "No space left on device. Make room or set its permissions, and run the same command again."
    assert str(caught.value) == f"cannot write {target}: {reason}"
    assert target.read_text() == "old"
    assert listing(small_disk) == ["a.txt"]


def unprepared(folder: Path, results: Path) -> list[str]:
    """The command that prepares a data set of 100 black images, 78 kB, whose source files take next to nothing."""
    raw = Paths(results).raw("black")
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        header = bytes([0, 0, 8, 3, 0, 0, 0, 100, 0, 0, 0, 28, 0, 0, 0, 28])
        (raw / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + bytes(100 * 28 * 28)))
        (raw / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 100] + [0] * 100)))
    accept = {path.name: file_digest(path, "md5") for path in raw.iterdir()}
    recipe = DataRecipe(dataset="black", source="fashion_mnist", image_size=None, accept=accept)
    fetch(recipe, raw)
    return ["prepare", str(recipe.write(folder)), "--results", str(results)]


def one_message(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed command says: one line."""
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("collabpipe ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_preparing_data_on_a_full_disk_ends_in_one_message_and_leaves_nothing(small_disk: Path, tmp_path: Path) -> None:
    command = unprepared(tmp_path, small_disk)
    before = listing(small_disk)

    done = subprocess.run([COLLABPIPE, *command], capture_output=True, text=True)

    told = one_message(done)
    assert "train.arrow" in told
    assert "No space left on device" in told
    assert listing(small_disk) == before


def test_a_limit_on_the_size_of_files_ends_in_one_message_and_leaves_nothing(tmp_path: Path) -> None:
    # The kernel's own limit: what anybody can try without a disk to fill.
    code = (
        "import resource, sys; from collabpipe.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = unprepared(tmp_path, tmp_path / "results")
    before = listing(tmp_path)

    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)

    told = one_message(done)
    assert "train.arrow" in told
    assert "File too large" in told
    assert listing(tmp_path) == before


def test_a_state_that_does_not_fit_on_the_disk_is_told_and_leaves_nothing(small_disk: Path) -> None:
    # safetensors writes by itself and has an exception of its own.
    import torch

    target = small_disk / "state.safetensors"
    with pytest.raises(CollabpipeError) as caught:
        save_tensors(target, {"weight": torch.zeros(100_000)}, {})

    assert str(target) in str(caught.value)
    assert "No space left" in str(caught.value)
    assert listing(small_disk) == []


def test_recipes_that_cannot_be_written_end_in_one_message(small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "filler").write_bytes(b"x" * 65_536)
    config = tmp_path / "config.yaml"
    config.write_text(
        "study: s\ndatasets: {digits: {validation_size: 9}}\nnoise: [none]\nnetworks: {resnet8: {}}\n"
        "methods: {baseline: {}}\nseeds: [0]\ntraining: {epochs: 1}\n"
    )

    done = subprocess.run(
        [COLLABPIPE, "plan", config, "--write", "--results", small_disk], capture_output=True, text=True
    )

    assert "No space left on device" in one_message(done)
    assert listing(small_disk) == ["filler"]


# --- links ------------------------------------------------------------------------------------------------------------


def test_a_file_is_linked_and_counts_as_new(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "folder" / "target"
    source.write_text("content")
    os.utime(source, (1, 1))
    long_ago = 2 * 10**9

    link_or_copy(source, target)

    assert target.stat().st_ino == source.stat().st_ino
    assert target.stat().st_mtime_ns > long_ago
    assert listing(tmp_path) == ["folder/target", "source"]


def test_a_link_replaces_what_was_there_and_leaves_nothing_when_it_was_the_same(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("content")
    target.write_text("old")

    link_or_copy(source, target)
    # A rename onto another name of the same file does nothing, not even take the old name away.
    link_or_copy(source, target)

    assert target.read_text() == "content"
    assert listing(tmp_path) == ["source", "target"]


def test_where_links_cannot_be_the_file_is_copied(small_disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("content")

    link_or_copy(source, small_disk / "target")

    assert (small_disk / "target").read_text() == "content"
    assert (small_disk / "target").stat().st_dev != source.stat().st_dev


def test_two_places_of_one_result_keep_times_of_their_own(tmp_path: Path) -> None:
    # Links share one time; what Snakemake reads from it must not change when another run is placed.
    (tmp_path / "source").write_text("content")
    link_or_copy(tmp_path / "source", tmp_path / "first")
    os.utime(tmp_path / "first", (5, 5))
    long_ago = 6 * 10**9

    link_or_copy(tmp_path / "source", tmp_path / "second")

    assert (tmp_path / "second").read_text() == "content"
    assert (tmp_path / "first").stat().st_mtime == 5
    assert (tmp_path / "second").stat().st_mtime_ns > long_ago


def test_a_missing_source_is_told_and_the_target_stays(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")

    for target in ("target", "other"):
        with pytest.raises(CollabpipeError) as caught:
            link_or_copy(tmp_path / "none", tmp_path / target)

        assert str(caught.value).startswith(f"{tmp_path / 'none'}: cannot be read: No such file or directory. ")
    assert listing(tmp_path) == ["target"]
    assert (tmp_path / "target").read_text() == "old"


def test_a_copy_that_does_not_fit_on_the_disk_is_told_as_the_target(small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 100_000)

    with pytest.raises(CollabpipeError, match=r"cannot write .*/target: No space left on device"):
        link_or_copy(tmp_path / "source", small_disk / "target")


# --- JSON and digests -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_a_files_digest_is_that_of_its_bytes(algorithm: str, size: int, tmp_path: Path) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "a").write_bytes(content)

    assert file_digest(tmp_path / "a", algorithm) == hashlib.new(algorithm, content).hexdigest()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(value=st.dictionaries(st.text(max_size=3), VALUES, min_size=2, max_size=4))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_digest_knows_the_value_and_not_the_order_of_its_keys(value: dict[str, Any]) -> None:
    assert json_digest(dict(reversed(value.items()))) == json_digest(value)
    assert json_digest(json.loads(json.dumps(value))) == json_digest(value)
    assert json_digest({**value, "more": 1}) != json_digest({**value, "more": 2})


def test_the_digest_of_a_known_value_is_that_of_its_canonical_form() -> None:
    # Anybody can check a recipe's name with sha256sum.
    assert json_digest({"b": [1, 2.5], "a": None}) == hashlib.sha256(b'{"a":null,"b":[1,2.5]}').hexdigest()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_has_no_word_for_are_refused(value: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_digest({"a": value})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": value})
    assert listing(tmp_path) == []


def test_json_that_is_missing_or_broken_is_told_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(CollabpipeError, match=f"{path}: cannot be read"):
        read_json(path)
    for broken in (b'{"a": ', b"", b"\xff\xfe", b"{'a': 1}"):
        path.write_bytes(broken)
        with pytest.raises(CollabpipeError, match=f"{path} is no valid JSON"):
            read_json(path)


# --- the store --------------------------------------------------------------------------------------------------------

KEY = "ab" + "0" * 62
Holder = Callable[[str, str], subprocess.Popen[str]]


def finished(store: Store) -> Path:
    """A store with one result of two files; the folder of the result."""
    with store.writing(KEY) as writer:
        folder = writer.folder
        for name in ("a", "b"):
            (folder / name).write_text(f"content of {name}")
        store.finish(KEY, ["a", "b"], {"status": "finished"})
    return folder


def test_a_result_is_found_when_it_is_finished_and_not_before(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.find(KEY) is None
    with store.writing(KEY) as writer:
        (writer.folder / "a").write_text("half")
        assert store.find(KEY) is None

    finished(store)

    result = store.find(KEY)
    assert result is not None
    assert (result["status"], result["key"]) == ("finished", KEY)
    assert result["files"]["b"] == hashlib.sha256(b"content of b").hexdigest()
    assert store.find("cd" + "0" * 62) is None


@pytest.mark.parametrize("damage", ["changed", "missing", "cut short"])
def test_a_damaged_result_is_dropped_and_can_be_made_again(damage: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    folder = finished(store)
    if damage == "missing":
        (folder / "b").unlink()
    else:
        (folder / "b").write_text("content of X" if damage == "changed" else "")

    assert store.find(KEY) is None
    assert not (folder / "result.json").exists(), "the next look need not read the files again"
    finished(store)
    assert store.find(KEY) is not None


def test_a_run_gets_the_results_files_as_links_and_a_change_there_is_noticed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    finished(store)
    result = store.find(KEY)
    assert result is not None

    store.place(KEY, result, tmp_path / "run")

    assert listing(tmp_path / "run") == ["a", "b"]
    assert (tmp_path / "run" / "a").read_text() == "content of a"
    # The run's file and the store's are one: who writes into the first has damaged the second.
    (tmp_path / "run" / "a").write_text("changed by hand")
    assert store.find(KEY) is None


HOLD = """
import sys
from pathlib import Path
from collabpipe.results.store import Store
with Store(Path(sys.argv[1])).writing(sys.argv[2]) as writer:
    print("holds", flush=True)
    sys.stdin.readline()
    (writer.folder / "order").open("a").write(sys.argv[3])
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    """Starts a process that takes a key and keeps it until it is told to let go."""
    started: list[subprocess.Popen[str]] = []

    def start(key: str, name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(tmp_path), key, name]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def holds(process: subprocess.Popen[str], seconds: float) -> bool:
    """Whether a process says within some time that it has its key."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], seconds)[0]:
        return False
    return process.stdout.readline() == "holds\n"


def let_go(process: subprocess.Popen[str]) -> None:
    process.communicate("\n", timeout=300)
    assert process.returncode == 0


def test_of_two_processes_on_one_key_the_second_waits(holder: Holder, tmp_path: Path) -> None:
    first = holder(KEY, "1")
    assert holds(first, 300)
    second, other = holder(KEY, "2"), holder("cd" + "0" * 62, "3")

    assert holds(other, 300), "another key is nobody's business"
    assert not holds(second, 1)
    let_go(first)
    assert holds(second, 300)
    let_go(second)
    let_go(other)

    assert (Store(tmp_path).folder(KEY) / "order").read_text() == "12"


def test_a_process_that_is_killed_gives_its_key_back(holder: Holder) -> None:
    first = holder(KEY, "1")
    assert holds(first, 300)
    second = holder(KEY, "2")
    assert not holds(second, 1)

    first.send_signal(signal.SIGKILL)

    assert holds(second, 300)
    let_go(second)


@pytest.mark.parametrize("size", [0, 100])
def test_a_parquet_file_that_was_cut_off_says_how_to_make_it_again(size: int, tmp_path: Path) -> None:
    path = tmp_path / "history.parquet"
    pd.DataFrame({"epoch": range(100)}).to_parquet(path)
    assert read_columns(path, ["epoch"]).num_rows == 100
    path.write_bytes(path.read_bytes()[:size])

    with pytest.raises(
        CollabpipeError, match=r"history.parquet: cannot be read: .*\. Remove it and run Snakemake again\."
    ):
        read_columns(path)
