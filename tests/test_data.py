"""Data sets: fetched whole or not at all from a real web server, read from their formats, mapped without copying."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from collabpipe.cli import main
from collabpipe.data import fetch as fetching
from collabpipe.data.fetch import ATTEMPTS, fetch
from collabpipe.data.formats import read_digits, read_idx, shrink
from collabpipe.data.sources import SOURCES, SourceFile
from collabpipe.data.store import data_record, open_images, prepare
from collabpipe.errors import CollabpipeError
from collabpipe.files import read_json
from collabpipe.recipe import DataRecipe

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
DIGITS = DataRecipe(dataset="digits", source="digits", image_size=None)
FASHION = DataRecipe(dataset="fashion", source="fashion_mnist", image_size=None)
NAMES = [file.name for file in SOURCES["fashion_mnist"].files]


# --- digits -----------------------------------------------------------------------------------------------------------


def test_digits_are_1297_and_500_images_of_their_shape_and_classes() -> None:
    for (images, labels), size in zip(read_digits(Path()), (1297, 500), strict=True):
        assert images.shape == (size, 1, 8, 8)
        assert images.dtype == np.uint8
        assert (images.min(), images.max()) == (0, 255)
        assert labels.shape == (size,)
        assert labels.dtype == np.int64
        assert set(labels) == set(range(10))


def test_digits_are_split_by_class_and_every_image_is_used_once() -> None:
    (train, train_labels), (test, test_labels) = read_digits(Path())
    source = load_digits()

    shares = np.bincount(source.target) * 500 / 1797
    assert (np.abs(np.bincount(test_labels) - shares) < 1).all()
    ours = sorted(
        (int(label), image.tobytes())
        for images, labels in ((train, train_labels), (test, test_labels))
        for image, label in zip(images, labels, strict=True)
    )
    theirs = np.round(source.images * 255 / 16).astype(np.uint8)
    assert ours == sorted((int(label), image.tobytes()) for image, label in zip(theirs, source.target, strict=True))


def test_digits_are_cut_the_same_way_every_time() -> None:
    (once, _), _ = read_digits(Path())
    np.random.seed(1)  # the global stream, which must not matter
    (again, _), _ = read_digits(Path())

    assert (once == again).all()


# --- the prepared form ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared digits; never written to."""
    folder = tmp_path_factory.mktemp("digits")
    prepare(DIGITS, folder / "raw", folder)
    return folder


def copied(folder: Path, target: Path) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def mapped_ranges(path: Path) -> list[tuple[int, int]]:
    """The addresses at which this process has mapped a file, as the kernel tells."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    ranges = (line.split()[0] for line in lines if line.endswith(str(path)))
    return [(int(low, 16), int(high, 16)) for low, high in (span.split("-") for span in ranges)]


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_are_the_files_own_bytes_in_memory_and_not_a_copy(split: str, digits: Path) -> None:
    found = open_images(DIGITS, digits, split)

    ranges = mapped_ranges(digits / f"{split}.arrow")
    for array in (found.images, found.labels):
        start = array.__array_interface__["data"][0]
        assert any(low <= start and start + array.nbytes <= high for low, high in ranges)
        assert not array.flags.owndata
        assert not array.flags.writeable


def test_images_labels_and_statistics_are_those_of_the_source(digits: Path) -> None:
    (images, labels), (test_images, test_labels) = read_digits(Path())

    train, test = open_images(DIGITS, digits, "train"), open_images(DIGITS, digits, "test")

    assert (train.images == images).all()
    assert (train.labels == labels).all()
    assert (test.images == test_images).all()
    assert (test.labels == test_labels).all()
    assert train.classes == test.classes == tuple("0123456789")
    assert train.mean == pytest.approx((images.mean() / 255,))
    assert train.std == pytest.approx((images.std() / 255,))
    assert (test.mean, test.std) == (train.mean, train.std), "the test set is normalised by the training set"


def test_the_record_tells_sums_sizes_and_the_recipe(digits: Path) -> None:
    record = data_record(DIGITS, digits)

    assert record["recipe"] == DIGITS.digest
    for name, images in (("train.arrow", 1297), ("test.arrow", 500)):
        content = (digits / name).read_bytes()
        about = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "images": images}
        assert record["files"][name] == about


def test_preparing_twice_gives_the_same_bytes(digits: Path, tmp_path: Path) -> None:
    prepare(DIGITS, tmp_path / "raw", tmp_path)

    for name in ("train.arrow", "test.arrow", "record.json"):
        assert (tmp_path / name).read_bytes() == (digits / name).read_bytes()


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_an_arrow_file_that_was_cut_short_is_refused(kept: int, digits: Path, tmp_path: Path) -> None:
    folder = copied(digits, tmp_path / "digits")
    path = folder / "train.arrow"
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(CollabpipeError) as caught:
        open_images(DIGITS, folder, "train")

    assert str(path) in str(caught.value)
    assert "prepare" in str(caught.value)


def test_an_arrow_file_of_zeros_is_refused(digits: Path, tmp_path: Path) -> None:
    # What a file system may leave after a power cut: the length without the content.
    folder = copied(digits, tmp_path / "digits")
    path = folder / "train.arrow"
    path.write_bytes(bytes(path.stat().st_size))

    with pytest.raises(CollabpipeError, match=r"train\.arrow: cannot be read"):
        open_images(DIGITS, folder, "train")


def test_a_missing_folder_or_file_is_refused(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(CollabpipeError, match=re.escape(str(tmp_path / "none"))):
        open_images(DIGITS, tmp_path / "none", "train")
    folder = copied(digits, tmp_path / "digits")
    (folder / "test.arrow").unlink()
    with pytest.raises(CollabpipeError, match=r"test\.arrow"):
        open_images(DIGITS, folder, "test")


def test_a_data_set_of_another_recipe_is_refused_with_both_names(digits: Path) -> None:
    other = DIGITS.model_copy(update={"image_size": 8})

    with pytest.raises(CollabpipeError) as caught:
        open_images(other, digits, "train")

    assert DIGITS.digest[:12] in str(caught.value)
    assert other.digest[:12] in str(caught.value)


def test_images_are_only_scaled_down(tmp_path: Path) -> None:
    with pytest.raises(CollabpipeError, match="image_size 16 is above the images' own 8"):
        prepare(DIGITS.model_copy(update={"image_size": 16}), tmp_path / "raw", tmp_path / "digits")
    assert not (tmp_path / "digits").exists()


# --- area averaging ---------------------------------------------------------------------------------------------------


def image(*pixels: list[int]) -> NDArray[np.uint8]:
    return np.array(pixels, dtype=np.uint8)[None, None]


def test_halving_takes_the_mean_of_four_pixels() -> None:
    found = shrink(image([0, 4, 8, 8], [8, 12, 8, 8], [1, 1, 200, 0], [1, 1, 0, 200]), 2)

    assert found.tolist() == [[[[6, 8], [1, 100]]]]


def test_a_factor_that_is_no_integer_weighs_pixels_by_their_share() -> None:
    # 3 to 2: a target pixel is 1.5 wide, so it takes a whole pixel and half of the middle one: 2/3 and 1/3.
    found = shrink(image([0, 90, 180], [0, 90, 180], [0, 90, 180]), 2)
    assert found.tolist() == [[[[30, 150], [30, 150]]]]

    # In both directions at once: (2/3, 1/3) ⊗ (2/3, 1/3); only the middle pixel is lit, and a ninth of it goes to each.
    found = shrink(image([0, 0, 0], [0, 252, 0], [0, 0, 0]), 2)
    assert found.tolist() == [[[[28, 28], [28, 28]]]]


def test_five_pixels_to_three_by_hand() -> None:
    # Edges at 5/3 and 10/3: weights (3/5, 2/5), (1/5, 3/5, 1/5), (2/5, 3/5).
    row = [0, 50, 100, 150, 255]
    found = shrink(image(row, row, row, row, row), 3)

    assert found[0, 0, 0].tolist() == [20, 100, 213]


def test_an_image_of_its_own_size_stays_and_one_that_is_not_square_becomes_it() -> None:
    pixels = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)

    assert (shrink(pixels, 4) == pixels).all()
    assert shrink(np.full((1, 1, 6, 4), 7, dtype=np.uint8), 4).tolist() == [[[[7] * 4] * 4]]


def test_more_images_than_one_portion_are_all_scaled() -> None:
    pixels = np.repeat(np.arange(5000) % 256, 4).astype(np.uint8).reshape(5000, 1, 2, 2)

    assert (shrink(pixels, 1).reshape(-1) == np.arange(5000) % 256).all()


@given(data=st.data(), height=st.integers(1, 20), width=st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_the_mean_is_kept_but_for_rounding(data: st.DataObject, height: int, width: int) -> None:
    pixels = data.draw(hnp.arrays(np.uint8, (1, 1, height, width)))
    size = data.draw(st.integers(1, min(height, width)))

    found = shrink(pixels, size)

    assert found.shape == (1, 1, size, size)
    assert abs(found.mean() - pixels.mean()) <= 0.5 + 1e-3
    assert pixels.min() <= found.min()
    assert found.max() <= pixels.max()


# --- IDX files --------------------------------------------------------------------------------------------------------


def idx(array: NDArray[np.uint8], kind: int = 0x08) -> bytes:
    """An array as LeCun's IDX format has it, gzipped (without a time, so that its sum is always the same)."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(bytes([0, 0, kind, array.ndim]) + sizes + array.tobytes(), mtime=0)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (0, 28, 28)])
def test_an_idx_file_is_read_as_it_was_written(shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    (tmp_path / "a.gz").write_bytes(idx(array))

    found = read_idx(tmp_path / "a.gz")

    assert found.shape == shape
    assert found.dtype == np.uint8
    assert (found == array).all()


FOUR = np.arange(4, dtype=np.uint8)
BROKEN_IDX: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no IDX file"),
    "no gzip": (b"<html>404</html>", "cannot be unpacked"),
    "gzip cut short": (idx(np.zeros(9000, np.uint8))[:-12], "cannot be unpacked"),
    "gzip damaged": (idx(FOUR)[:-8] + b"\0\0\0\0" + idx(FOUR)[-4:], "cannot be unpacked"),
    "wrong magic": (gzip.compress(b"\1\0\x08\1\0\0\0\0"), "no IDX file"),
    "floats": (idx(FOUR, kind=0x0D), "no IDX file"),
    "header cut short": (gzip.compress(b"\0\0\x08"), "no IDX file"),
    "sizes cut short": (gzip.compress(b"\0\0\x08\3\0\0"), "bytes where"),
    "data cut short": (gzip.compress(gzip.decompress(idx(FOUR))[:-1]), "holds 3 bytes where 4 belong"),
    "data too long": (gzip.compress(gzip.decompress(idx(FOUR)) + b"\0"), "holds 5 bytes where 4 belong"),
}


@pytest.mark.parametrize("name", BROKEN_IDX)
def test_a_broken_idx_file_is_refused_by_name(name: str, tmp_path: Path) -> None:
    content, words = BROKEN_IDX[name]
    (tmp_path / "a.gz").write_bytes(content)

    with pytest.raises(CollabpipeError) as caught:
        read_idx(tmp_path / "a.gz")

    assert str(tmp_path / "a.gz") in str(caught.value)
    assert words in str(caught.value)


# --- fetching: a small Fashion-MNIST on a web server of its own -------------------------------------------------------


def small_fashion() -> dict[str, bytes]:
    """The four files in their true format, with 30 and 20 images."""
    generator = np.random.default_rng(5)
    files = {}
    for part, size in (("train", 30), ("t10k", 20)):
        images = generator.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        files[f"{part}-images-idx3-ubyte.gz"] = idx(images)
        files[f"{part}-labels-idx1-ubyte.gz"] = idx(np.arange(size, dtype=np.uint8) % 10)
    return files


FILES = small_fashion()
Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def whole(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


def other_bytes(request: BaseHTTPRequestHandler, content: bytes) -> None:
    whole(request, content[:-1] + bytes([content[-1] ^ 1]))


def not_found(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_error(404)


def server_error(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_error(500)


def html(request: BaseHTTPRequestHandler, content: bytes) -> None:
    """What a captive portal answers to everything, with status 200."""
    whole(request, b"<html><body>Please log in</body></html>")


def cut_short(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content[: len(content) // 2])


def cut_short_in_chunks(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.protocol_version = "HTTP/1.1"
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    request.wfile.write(b"%x\r\n" % len(content) + content[: len(content) // 2])
    request.close_connection = True


def no_http(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.wfile.write(b"220 smtp.example.org ready\r\n")


@dataclass
class Server:
    """A web server on the loopback; what it answers, and what it was asked."""

    address: str
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    """Answers to come, by file; when they are used up the last one is repeated. No entry: the whole file."""
    asked: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def reply(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.lstrip("/")
        self.asked.append(name)
        planned = self.answers.get(name, [whole])
        answer = planned.pop(0) if len(planned) > 1 else planned[0]
        answer(request, FILES[name])

    def stall(self, request: BaseHTTPRequestHandler, content: bytes) -> None:
        """Half of the file, then nothing, with the connection open."""
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: len(content) // 2])
        request.wfile.flush()
        self.closing.wait(30)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of the small files, which the table of sources names with their sums; pauses take no time."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.reply(self)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: the tests look at `asked`."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = Server(f"http://127.0.0.1:{http.server_port}/")
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    files = tuple(SourceFile(name, hashlib.md5(FILES[name]).hexdigest()) for name in NAMES)  # noqa: S324
    small = replace(SOURCES["fashion_mnist"], files=files, addresses=(running.address,))
    monkeypatch.setitem(SOURCES, "fashion_mnist", small)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetching, "time", SimpleNamespace(sleep=lambda _: None))
    yield running
    running.closing.set()
    http.shutdown()
    http.server_close()


def listing(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def refused(folder: Path, data_dir: Path | None = None) -> str:
    with pytest.raises(CollabpipeError) as caught:
        fetch("fashion_mnist", folder, data_dir)
    return str(caught.value)


def test_the_whole_data_set_is_downloaded_and_prepared(server: Server, tmp_path: Path) -> None:
    fetch("fashion_mnist", tmp_path / "raw")
    prepare(FASHION, tmp_path / "raw", tmp_path)

    assert listing(tmp_path / "raw") == sorted([*NAMES, "fetched.json"])
    for name in NAMES:
        assert (tmp_path / "raw" / name).read_bytes() == FILES[name]
    assert server.asked == NAMES
    assert read_json(tmp_path / "raw" / "fetched.json") == {
        "source": "fashion_mnist",
        "md5": {name: hashlib.md5(FILES[name]).hexdigest() for name in NAMES},  # noqa: S324
    }
    for split, part, size in (("train", "train", 30), ("test", "t10k", 20)):
        found = open_images(FASHION, tmp_path, split)
        sent = gzip.decompress(FILES[f"{part}-images-idx3-ubyte.gz"])[16:]
        assert found.images.tobytes() == sent
        assert found.images.shape == (size, 1, 28, 28)
        assert (found.labels == np.arange(size) % 10).all()
        assert found.classes[9] == "Ankle boot"


def test_a_second_fetch_does_not_ask_the_server_again(server: Server, tmp_path: Path) -> None:
    fetch("fashion_mnist", tmp_path)
    asked = len(server.asked)

    fetch("fashion_mnist", tmp_path)

    assert len(server.asked) == asked


def test_a_file_that_was_damaged_on_the_disk_is_fetched_again_and_only_that(server: Server, tmp_path: Path) -> None:
    fetch("fashion_mnist", tmp_path)
    (tmp_path / NAMES[2]).write_bytes(b"damaged")
    server.asked.clear()

    fetch("fashion_mnist", tmp_path)

    assert server.asked == [NAMES[2]]
    assert (tmp_path / NAMES[2]).read_bytes() == FILES[NAMES[2]]


@pytest.mark.parametrize(
    ("answer", "words", "requests"),
    [
        (other_bytes, "wrong sum", 1),
        (html, "wrong sum", 1),
        (not_found, "HTTP 404 Not Found", 1),
        (server_error, "HTTP 500 Internal Server Error", ATTEMPTS),
        (cut_short, "", None),
        (cut_short_in_chunks, "", None),
        (no_http, "", None),
    ],
)
def test_a_bad_answer_is_told_and_nothing_of_it_is_kept(
    answer: Answer, words: str, requests: int | None, server: Server, tmp_path: Path
) -> None:
    server.answers[NAMES[1]] = [answer]

    told = refused(tmp_path)

    assert f"cannot fetch {NAMES[1]}" in told
    assert server.address + NAMES[1] in told
    assert words in told
    assert "data_dir" in told, "the way out is named"
    # The first file had come whole and stays; of the second there is nothing, half or hidden; no record is written.
    assert listing(tmp_path) == [NAMES[0]]
    if requests is not None:
        assert server.asked.count(NAMES[1]) == requests


@pytest.mark.parametrize("answer", [server_error, cut_short_in_chunks])
def test_a_passing_trouble_is_waited_out(answer: Answer, server: Server, tmp_path: Path) -> None:
    server.answers[NAMES[0]] = [answer, whole]

    fetch("fashion_mnist", tmp_path)

    assert server.asked.count(NAMES[0]) == 2
    assert listing(tmp_path) == sorted([*NAMES, "fetched.json"])


def test_pauses_between_attempts_grow(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(fetching, "time", SimpleNamespace(sleep=pauses.append))
    server.answers[NAMES[0]] = [server_error]

    refused(tmp_path)

    assert len(pauses) >= ATTEMPTS - 1
    assert pauses == sorted(pauses)
    assert 0 < pauses[0] < pauses[-1]


def test_a_server_that_stalls_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT_SECONDS", 0.2)
    server.answers[NAMES[0]] = [server.stall]

    told = refused(tmp_path)

    assert "timed out" in told
    assert server.address + NAMES[0] in told
    assert "cannot write" not in told, "the disk is not to blame"
    assert listing(tmp_path) == []


def test_a_server_that_stalls_once_is_asked_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT_SECONDS", 0.2)
    server.answers[NAMES[0]] = [server.stall, whole]

    fetch("fashion_mnist", tmp_path)

    assert (tmp_path / NAMES[0]).read_bytes() == FILES[NAMES[0]]


def closed_port() -> str:
    """An address of this machine at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_nobody_at_the_address_is_told(server: Server, tmp_path: Path) -> None:
    address = closed_port()

    with pytest.raises(CollabpipeError) as caught:
        fetch("fashion_mnist", tmp_path, addresses=[address])

    assert f"{address}/{NAMES[0]}" in str(caught.value)
    assert "refused" in str(caught.value)
    assert "cannot write" not in str(caught.value), "the disk is not to blame"
    assert listing(tmp_path) == []


def test_the_next_address_is_tried_where_one_fails(server: Server, tmp_path: Path) -> None:
    fetch("fashion_mnist", tmp_path, addresses=[closed_port(), server.address])

    assert listing(tmp_path) == sorted([*NAMES, "fetched.json"])


def test_only_web_addresses_are_fetched(server: Server, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / NAMES[0]).write_bytes(FILES[NAMES[0]])

    with pytest.raises(CollabpipeError, match="only http and https"):
        fetch("fashion_mnist", tmp_path / "raw", addresses=[own.as_uri()])
    assert listing(tmp_path / "raw") == []


@pytest.fixture
def own_files(tmp_path: Path) -> Path:
    """A user's own copies of the small files."""
    folder = tmp_path / "own"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def test_own_files_are_copied_and_no_server_is_asked(server: Server, own_files: Path, tmp_path: Path) -> None:
    fetch("fashion_mnist", tmp_path / "raw", own_files)

    assert server.asked == []
    for name in NAMES:
        copy = tmp_path / "raw" / name
        assert copy.read_bytes() == FILES[name]
        assert copy.stat().st_ino != (own_files / name).stat().st_ino, "ours may be removed, theirs stays"
    assert "fetched.json" in listing(tmp_path / "raw")


def test_a_missing_data_dir_is_told_with_the_file_it_should_hold(server: Server, tmp_path: Path) -> None:
    told = refused(tmp_path / "raw", tmp_path / "none")

    assert str(tmp_path / "none") in told
    assert NAMES[0] in told
    assert "data_dir" in told
    assert listing(tmp_path / "raw") == []
    assert server.asked == []


def test_a_wrong_file_in_data_dir_is_told_and_not_kept(server: Server, own_files: Path, tmp_path: Path) -> None:
    (own_files / NAMES[1]).write_bytes(b"something else")

    told = refused(tmp_path / "raw", own_files)

    assert str(own_files / NAMES[1]) in told
    assert "wrong sum" in told
    assert hashlib.md5(FILES[NAMES[1]]).hexdigest() in told  # noqa: S324
    assert listing(tmp_path / "raw") == [NAMES[0]]
    assert (own_files / NAMES[1]).read_bytes() == b"something else"


def test_digits_need_no_server(server: Server, tmp_path: Path) -> None:
    fetch("digits", tmp_path)

    assert server.asked == []
    assert read_json(tmp_path / "fetched.json") == {"source": "digits", "md5": {}}


def test_preparing_what_was_not_fetched_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CollabpipeError, match=re.escape(NAMES[0])):
        prepare(FASHION, tmp_path / "raw", tmp_path / "fashion")
    assert not (tmp_path / "fashion").exists()


def test_images_and_labels_of_different_numbers_are_refused(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / NAMES[1]).write_bytes(idx(np.zeros(29, np.uint8)))

    with pytest.raises(CollabpipeError, match="do not fit"):
        prepare(FASHION, tmp_path, tmp_path / "fashion")


@pytest.mark.skipif(not DEBIAN.exists(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_real_fashion_mnist_has_its_sums_sizes_and_statistics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(FASHION.model_dump(mode="json")))

    assert main(["fetch", str(recipe), "--data-dir", str(DEBIAN), "--results", str(tmp_path)]) == 0
    assert main(["prepare", str(recipe), "--results", str(tmp_path)]) == 0

    assert capsys.readouterr().err == ""
    folder = tmp_path / "datasets" / "fashion"
    for split, size in (("train", 60_000), ("test", 10_000)):
        found = open_images(FASHION, folder, split)
        assert found.images.shape == (size, 1, 28, 28)
        assert (np.bincount(found.labels) == size // 10).all()
        # As published with the data set.
        assert found.mean == pytest.approx((0.2860,), abs=5e-5)
        assert found.std == pytest.approx((0.3530,), abs=5e-5)
