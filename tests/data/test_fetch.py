"""Fetching: whole and verified or not at all, from a web server that misbehaves in every way that was thought of."""

from __future__ import annotations

import errno
import io
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from collabpipe.catalogue.sources import SOURCES, SourceFile
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import read_json
from collabpipe.data import download as downloading
from collabpipe.data.download import ATTEMPTS
from collabpipe.data.fetch import fetch
from collabpipe.data.prepared import prepare
from collabpipe.plan.recipes import DataRecipe
from tests.archives import Answer, Server, cut_short, fashion_mnist, md5, send, serving, whole, without_ranges

FASHION = DataRecipe(dataset="fashion", source="fashion_mnist", image_size=None)
FILES = fashion_mnist().files
NAMES = list(FILES)
IMAGES = NAMES[0]
PART = f"{IMAGES}.part"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of small files, which the table of sources names with their sums and sizes; pauses take no time."""
    with serving(dict(FILES)) as running:
        files = tuple(SourceFile(name, md5(content), len(content)) for name, content in FILES.items())
        small = replace(SOURCES["fashion_mnist"], files=files, addresses=(running.address,))
        monkeypatch.setitem(SOURCES, "fashion_mnist", small)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(downloading, "time", SimpleNamespace(sleep=lambda _: None))
        yield running


@pytest.fixture
def sizes_unknown(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SOURCES["fashion_mnist"]
    files = tuple(replace(file, size=None) for file in source.files)
    monkeypatch.setitem(SOURCES, "fashion_mnist", replace(source, files=files))


def listing(folder: Path) -> list[str]:
    """Everything in a folder but its lock, hidden files too."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock") if folder.exists() else []


def refused(folder: Path, data_dir: Path | None = None, offline: bool = False) -> str:
    with pytest.raises(CollabpipeError) as caught:
        fetch(FASHION, folder, data_dir, offline=offline)
    return str(caught.value)


# --- as it should be --------------------------------------------------------------------------------------------------


def test_the_whole_data_set_is_downloaded(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("collabpipe.common.progress.LINE_SECONDS", 10**9)
    fetch(FASHION, tmp_path)

    assert listing(tmp_path) == sorted([*NAMES, "fetched.json"])
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == FILES[name]
    assert server.asked == NAMES
    sums = {name: md5(content) for name, content in FILES.items()}
    record: dict[str, Any] = {"source": "fashion_mnist", "folder": None, "md5": sums, "images": None, "accepted": {}}
    assert read_json(tmp_path / "fetched.json") == record | {"recipe": FASHION.digest}
    assert capsys.readouterr().err == "", "a log gets a line once its time has come"


def test_a_long_download_tells_how_far_it_is(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("collabpipe.common.progress.LINE_SECONDS", 0)
    fetch(FASHION, tmp_path)

    assert re.search(rf"^{re.escape(IMAGES)}: 0 MB of 0  \d+ MB/s  \d+ s left$", capsys.readouterr().err, re.M)


def test_a_second_fetch_does_not_ask_the_server_again(server: Server, tmp_path: Path) -> None:
    fetch(FASHION, tmp_path)
    asked = len(server.asked)

    fetch(FASHION, tmp_path)

    assert len(server.asked) == asked


def test_a_file_that_was_damaged_on_the_disk_is_fetched_again_and_only_that(server: Server, tmp_path: Path) -> None:
    fetch(FASHION, tmp_path)
    (tmp_path / NAMES[2]).write_bytes(b"damaged")
    server.asked.clear()

    fetch(FASHION, tmp_path)

    assert server.asked == [NAMES[2]]
    assert (tmp_path / NAMES[2]).read_bytes() == FILES[NAMES[2]]


def test_mirrors_are_tried_before_the_sources_own_addresses(server: Server, tmp_path: Path) -> None:
    with serving(dict(FILES)) as mirror:
        mirror.answers[NAMES[1]] = [lambda request, _: request.send_error(404)]
        fetch(FASHION, tmp_path, mirrors=[mirror.address])

    assert mirror.asked == NAMES
    assert server.asked == [NAMES[1]]
    assert listing(tmp_path) == sorted([*NAMES, "fetched.json"])


def test_digits_need_no_server(server: Server, tmp_path: Path) -> None:
    digits = DataRecipe(dataset="digits", source="digits", image_size=None)
    fetch(digits, tmp_path, offline=True)

    assert server.asked == []
    record: dict[str, Any] = {"source": "digits", "folder": None, "md5": {}, "images": None, "accepted": {}}
    assert read_json(tmp_path / "fetched.json") == record | {"recipe": digits.digest}


# --- bad answers ------------------------------------------------------------------------------------------------------


def other_bytes(request: BaseHTTPRequestHandler, content: bytes) -> None:
    send(request, content[:-1] + bytes([content[-1] ^ 1]))


def other_file(request: BaseHTTPRequestHandler, content: bytes) -> None:
    send(request, FILES[NAMES[3]])


def too_long(request: BaseHTTPRequestHandler, content: bytes) -> None:
    send(request, content + b"and more")


def too_short(request: BaseHTTPRequestHandler, content: bytes) -> None:
    send(request, content[:-1])


def html(request: BaseHTTPRequestHandler, content: bytes) -> None:
    """What a captive portal answers to everything, with status 200."""
    send(request, b"<html><body>Please log in</body></html>", Content_Type="text/html; charset=utf-8")


def untyped_html(request: BaseHTTPRequestHandler, content: bytes) -> None:
    send(request, b"<html><body>Please log in</body></html>")


def redirect_to_file(request: BaseHTTPRequestHandler, content: bytes) -> None:
    send(request, b"", 302, Location="file:///etc/passwd")


def redirect_to_ftp(request: BaseHTTPRequestHandler, content: bytes) -> None:
    send(request, b"", 302, Location="ftp://127.0.0.1/a")


def without_length(request: BaseHTTPRequestHandler, content: bytes) -> None:
    send(request, content, Content_Length=None)


def endless(request: BaseHTTPRequestHandler, content: bytes) -> None:
    send(request, content[:100], Content_Length=None)
    while True:  # until the client hangs up
        request.wfile.write(bytes(1 << 16))


def half_without_length(request: BaseHTTPRequestHandler, content: bytes) -> None:
    send(request, content[: len(content) // 2], Content_Length=None)


def cut_short_in_chunks(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.protocol_version = "HTTP/1.1"
    send(request, b"", Content_Length=None, Transfer_Encoding="chunked")
    request.wfile.write(b"%x\r\n" % len(content) + content[: len(content) // 2])
    request.close_connection = True


def no_http(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.wfile.write(b"220 smtp.example.org ready\r\n")


def status(code: int) -> Answer:
    return lambda request, _: request.send_error(code)


BAD: dict[str, tuple[Answer, str, int, bool]] = {
    # answer, what is told of it, how often the server is asked, whether a part is kept to be continued
    "a bit flipped": (other_bytes, "wrong sum. Expected md5", 1, False),
    "another file": (other_file, "it is another file", 1, False),
    "too long": (too_long, "it is another file", 1, False),
    "too short": (too_short, "it is another file", 1, False),
    "a login page": (html, "is a web page (a login, an error), not the file", 1, False),
    "a login page without type": (untyped_html, "announces 39 bytes where", 1, False),
    "endless": (endless, "wrong sum. Expected md5", 1, False),
    "not found": (status(404), "HTTP 404 Not Found", 1, False),
    "forbidden": (status(403), "HTTP 403 Forbidden", 1, False),
    "server error": (status(500), "HTTP 500 Internal Server Error", ATTEMPTS, False),
    "too many requests": (status(429), "HTTP 429 Too Many Requests", ATTEMPTS, False),
    "redirect to a file": (redirect_to_file, "HTTP 302", 1, False),
    "redirect to ftp": (redirect_to_ftp, "leads to ftp://127.0.0.1/a; only http and https addresses are", 1, False),
    "connection lost": (cut_short, "bytes.", ATTEMPTS, True),
    "connection lost, no length": (half_without_length, "ended after", ATTEMPTS, True),
    "connection lost in a chunk": (cut_short_in_chunks, "IncompleteRead", ATTEMPTS, True),
    "no web server": (no_http, "BadStatusLine", ATTEMPTS, False),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_is_told_and_nothing_of_it_could_be_opened(name: str, server: Server, tmp_path: Path) -> None:
    answer, words, requests, resumable = BAD[name]
    server.answers[NAMES[2]] = [answer]

    told = refused(tmp_path)

    assert f"cannot fetch {NAMES[2]}" in told
    assert server.address + NAMES[2] in told
    assert words in told
    assert "data_dir" in told, "the way out is named"
    # The first files had come whole and stay; of the third there is at most a part; no record is written.
    assert listing(tmp_path) == sorted([*NAMES[:2], *[f"{NAMES[2]}.part"] * resumable])
    assert server.asked.count(NAMES[2]) == requests


@pytest.mark.usefixtures("sizes_unknown")
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (untyped_html, "wrong sum"),
        (too_long, "wrong sum"),
        (half_without_length, "wrong sum"),
        (endless, "does not end after 200000 bytes"),
    ],
)
def test_where_no_size_is_known_the_sum_and_a_limit_decide(
    answer: Answer, words: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "MOST_BYTES", 200000)
    server.answers[IMAGES] = [answer]

    assert words in refused(tmp_path)
    assert listing(tmp_path) == []


@pytest.mark.usefixtures("sizes_unknown")
def test_a_length_beyond_the_limit_is_refused_before_anything_is_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "MOST_BYTES", 1000)

    assert "at most 1000 are read" in refused(tmp_path)


def test_a_file_without_an_announced_length_is_taken_if_it_is_the_one(server: Server, tmp_path: Path) -> None:
    server.answers[IMAGES] = [without_length]

    fetch(FASHION, tmp_path)

    assert (tmp_path / IMAGES).read_bytes() == FILES[IMAGES]


@pytest.mark.parametrize("answer", [status(500), status(503), cut_short_in_chunks, no_http])
def test_a_passing_trouble_is_waited_out_and_told(
    answer: Answer, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers[IMAGES] = [answer, whole]

    fetch(FASHION, tmp_path)

    assert server.asked.count(IMAGES) == 2
    assert listing(tmp_path) == sorted([*NAMES, "fetched.json"])
    assert "Trying again in 1 s." in capsys.readouterr().err


def test_a_redirect_to_another_web_address_is_followed(server: Server, tmp_path: Path) -> None:
    with serving(dict(FILES)) as other:
        server.answers[IMAGES] = [lambda request, _: send(request, b"", 302, Location=other.address + IMAGES)]
        fetch(FASHION, tmp_path)

    assert other.asked == [IMAGES]
    assert (tmp_path / IMAGES).read_bytes() == FILES[IMAGES]


def test_pauses_between_attempts_grow(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(downloading, "time", SimpleNamespace(sleep=pauses.append))
    server.answers[IMAGES] = [status(500)]

    refused(tmp_path)

    assert pauses == [1.0, 2.0, 4.0]


def closed_port() -> str:
    """An address of this machine at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_nobody_at_an_address_is_told(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = closed_port()
    monkeypatch.setitem(SOURCES, "fashion_mnist", replace(SOURCES["fashion_mnist"], addresses=()))

    with pytest.raises(CollabpipeError) as caught:
        fetch(FASHION, tmp_path, mirrors=[address])

    assert f"{address}/{IMAGES}" in str(caught.value)
    assert "refused" in str(caught.value)
    assert "cannot write" not in str(caught.value), "the disk is not to blame"
    assert listing(tmp_path) == []


@pytest.mark.parametrize("mirror", ["ftp://127.0.0.1/", "file:///usr/share/datasets/fashion-mnist/", "here"])
def test_only_web_addresses_are_fetched(mirror: str, server: Server, tmp_path: Path) -> None:
    server.answers[IMAGES] = [status(404)]

    with pytest.raises(CollabpipeError, match="only http and https"):
        fetch(FASHION, tmp_path, mirrors=[mirror])
    assert listing(tmp_path) == []


def test_a_full_disk_is_told_and_its_part_removed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(path: Path, mode: str) -> Full:
        path.touch()
        return Full()

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        told = refused(tmp_path)

    assert f"cannot write {tmp_path / IMAGES}: No space left on device" in told
    assert listing(tmp_path) == []


# --- interrupted and continued ----------------------------------------------------------------------------------------


def test_a_lost_connection_is_continued_where_it_broke(server: Server, tmp_path: Path) -> None:
    half = len(FILES[IMAGES]) // 2
    server.answers[IMAGES] = [cut_short, whole]

    fetch(FASHION, tmp_path)

    assert server.ranges[:2] == [None, f"bytes={half}-"]
    assert (tmp_path / IMAGES).read_bytes() == FILES[IMAGES]
    assert listing(tmp_path) == sorted([*NAMES, "fetched.json"])


def test_a_stall_is_given_up_and_continued_by_the_next_fetch(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "TIMEOUT_SECONDS", 0.1)
    half = len(FILES[IMAGES]) // 2
    server.answers[IMAGES] = [server.stall, *[status(503)] * (ATTEMPTS - 1)]

    told = refused(tmp_path)

    assert "timed out" in told
    assert "cannot write" not in told, "the disk is not to blame"
    assert listing(tmp_path) == [PART]
    assert (tmp_path / PART).stat().st_size == half

    server.answers.clear()
    server.ranges.clear()
    fetch(FASHION, tmp_path)
    assert server.ranges[0] == f"bytes={half}-"
    assert (tmp_path / IMAGES).read_bytes() == FILES[IMAGES]


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.answers[IMAGES] = [cut_short, without_ranges]

    fetch(FASHION, tmp_path)

    assert (tmp_path / IMAGES).read_bytes() == FILES[IMAGES]


def test_a_file_that_changes_between_attempts_is_begun_again(server: Server, tmp_path: Path) -> None:
    def old(request: BaseHTTPRequestHandler, content: bytes) -> None:
        cut_short(request, bytes(len(content)))  # the same length, other bytes, another mark

    server.answers[IMAGES] = [old, whole]

    fetch(FASHION, tmp_path)

    assert server.asked.count(IMAGES) == 2, "the mark told the server that a part would not fit"
    assert (tmp_path / IMAGES).read_bytes() == FILES[IMAGES]


@pytest.mark.parametrize("left", [1, 300, len(FILES[IMAGES]), len(FILES[IMAGES]) + 5])
def test_a_part_of_something_else_is_thrown_away_and_the_file_fetched_once(
    left: int, server: Server, tmp_path: Path
) -> None:
    (tmp_path / PART).write_bytes(b"?" * left)

    fetch(FASHION, tmp_path)

    assert (tmp_path / IMAGES).read_bytes() == FILES[IMAGES]
    assert server.asked.count(IMAGES) <= 2
    assert listing(tmp_path) == sorted([*NAMES, "fetched.json"])


def test_a_part_is_not_continued_at_another_place(server: Server, tmp_path: Path) -> None:
    def elsewhere(request: BaseHTTPRequestHandler, content: bytes) -> None:
        send(request, content, 206, Content_Range=f"bytes 0-{len(content) - 1}/{len(content)}")

    (tmp_path / PART).write_bytes(FILES[IMAGES][:300])
    server.answers[IMAGES] = [elsewhere, whole]

    fetch(FASHION, tmp_path)

    assert server.ranges[:2] == ["bytes=300-", None]
    assert (tmp_path / IMAGES).read_bytes() == FILES[IMAGES]


def test_two_fetches_into_one_folder_wait_for_each_other(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(request: BaseHTTPRequestHandler, content: bytes) -> None:
        begun.set()
        go.wait(20)
        whole(request, content)

    server.answers[IMAGES] = [slow]
    both = [threading.Thread(target=fetch, args=(FASHION, tmp_path)) for _ in range(2)]
    both[0].start()
    assert begun.wait(20)
    both[1].start()
    both[1].join(0.3)
    assert both[1].is_alive()
    go.set()
    for thread in both:
        thread.join(20)

    assert server.asked == NAMES, "the second found what the first had fetched"
    assert "another process fetches into it; waiting" in capsys.readouterr().err
    assert listing(tmp_path) == sorted([*NAMES, "fetched.json"])


def test_a_killed_fetch_leaves_no_lock_behind(server: Server, tmp_path: Path) -> None:
    code = (
        "import sys; from filelock import FileLock; FileLock(sys.argv[1]).acquire(); import os; os.kill(os.getpid(), 9)"
    )
    tmp_path.joinpath("raw").mkdir()
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "raw" / ".lock")], check=False)

    fetch(FASHION, tmp_path / "raw")

    assert "fetched.json" in listing(tmp_path / "raw")


# --- the user's own files, and none at all ----------------------------------------------------------------------------


@pytest.fixture
def own_files(tmp_path: Path) -> Path:
    """A user's own copies of the small files."""
    folder = tmp_path / "own"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def test_own_files_are_used_and_no_server_is_asked(server: Server, own_files: Path, tmp_path: Path) -> None:
    fetch(FASHION, tmp_path / "raw", own_files)

    assert server.asked == []
    assert listing(tmp_path / "raw") == ["fetched.json", "sums.json"]
    assert read_json(tmp_path / "raw" / "fetched.json")["folder"] == str(own_files)


def test_a_missing_data_dir_is_told_with_the_files_it_should_hold(server: Server, tmp_path: Path) -> None:
    told = refused(tmp_path / "raw", tmp_path / "none")

    assert f"data_dir {tmp_path / 'none'}: is missing, or lacks files" in told
    for name, content in FILES.items():
        assert f"{name}  md5 {md5(content)}  {len(content)} bytes" in told
    assert listing(tmp_path / "raw") == []
    assert server.asked == []


def test_a_data_dir_that_cannot_be_read_is_told(server: Server, tmp_path: Path) -> None:
    told = refused(tmp_path / "raw", tmp_path / ("x" * 300))

    assert "cannot be read: File name too long" in told


def test_a_wrong_file_in_data_dir_is_told_and_stays_as_it_is(server: Server, own_files: Path, tmp_path: Path) -> None:
    (own_files / NAMES[1]).write_bytes(b"something else")

    told = refused(tmp_path / "raw", own_files)

    assert f"{own_files / NAMES[1]}: wrong sum. Expected md5 {md5(FILES[NAMES[1]])}" in told
    assert "it was not opened" in told
    assert f"accept: {{{NAMES[1]}: {md5(b'something else')}}}" in told
    assert listing(tmp_path / "raw") == []
    assert (own_files / NAMES[1]).read_bytes() == b"something else"


def test_offline_asks_nobody_and_lists_what_is_missing(server: Server, tmp_path: Path) -> None:
    (tmp_path / NAMES[0]).write_bytes(FILES[NAMES[0]])

    told = refused(tmp_path, offline=True)

    assert f"offline: nothing is downloaded, and {tmp_path} lacks files" in told
    assert NAMES[0] not in told
    for name in NAMES[1:]:
        assert f"{name}  md5 {md5(FILES[name])}  {len(FILES[name])} bytes  {server.address}{name}" in told
    assert server.asked == []

    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    fetch(FASHION, tmp_path, offline=True)
    assert server.asked == []


def test_a_results_folder_that_cannot_be_written_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert "cannot write" in refused(tmp_path / "file" / "raw")


def test_preparing_what_was_not_fetched_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CollabpipeError, match=r"fetched\.json: is missing\. Run Snakemake, or fetch the data set"):
        prepare(FASHION, tmp_path / "raw", tmp_path / "fashion")
    assert not (tmp_path / "fashion").exists()


def test_a_file_that_vanishes_after_the_fetch_is_told(server: Server, own_files: Path, tmp_path: Path) -> None:
    fetch(FASHION, tmp_path / "raw", own_files)
    (own_files / NAMES[3]).unlink()

    with pytest.raises(CollabpipeError, match=f"{re.escape(NAMES[3])} is missing"):
        prepare(FASHION, tmp_path / "raw", tmp_path / "fashion")
