"""Small archives in the sources' true formats, and a web server on the loopback that hands them out, well or badly."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collabpipe.plan.recipes import DataRecipe

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()  # noqa: S324 (as the sources publish them)


# --- formats ----------------------------------------------------------------------------------------------------------


def idx(array: Bytes, kind: int = 0x08) -> bytes:
    """An array as LeCun's IDX format has it, gzipped (without a time, so that its sum is always the same)."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(bytes([0, 0, kind, array.ndim]) + sizes + array.tobytes(), mtime=0)


def python2_pickle(value: Any) -> bytes:
    """`value` as Python 2 pickled it with protocol 2: strings and array contents are byte strings, names are old."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: Any) -> bytes:
    if isinstance(value, str):
        return _python2(value.encode())
    if isinstance(value, bytes):
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + _int4(len(value)) + value
    if isinstance(value, int):
        return b"J" + _int4(value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_python2(key) + _python2(part) for key, part in value.items()) + b"u"
    shape = b"(" + b"".join(_python2(size) for size in value.shape) + b"t"
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85U\x01btR"
    kind = b"cnumpy\ndtype\n(U\x02u1K\0K\x01tR(K\x03U\x01|NNN" + 2 * (b"J" + _int4(-1)) + b"K\0tb"
    return made + b"(K\x01" + shape + kind + b"\x89" + _python2(value.tobytes()) + b"tb"


def _int4(value: int) -> bytes:
    return value.to_bytes(4, "little", signed=True)


def tar_gz(members: Mapping[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    """A gzipped tar archive of these members, and of further ones without content at its end."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return out.getvalue()


def torch_zip(content: bytes, name: str = "CIFAR-10_human") -> bytes:
    """What torch.save writes around a pickle without tensors."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(f"{name}/data.pkl", content)
        archive.writestr(f"{name}/version", "3\n")
    return out.getvalue()


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


# --- small data sets --------------------------------------------------------------------------------------------------


@dataclass
class Small:
    """A small data set: its files by name, and what is to come out of them."""

    source: str
    files: dict[str, bytes]
    train: tuple[Bytes, Ints]
    test: tuple[Bytes, Ints]
    annotations: dict[str, Ints] = field(default_factory=dict)

    def recipe(self, **fields: Any) -> DataRecipe:
        """A recipe that accepts the small files in place of the real ones."""
        accept = {name: md5(content) for name, content in self.files.items()}
        human = any(name.endswith(".pt") for name in self.files)
        known: dict[str, Any] = {"dataset": "small", "source": self.source, "image_size": None, "human_labels": human}
        return DataRecipe.model_validate(known | {"accept": accept} | fields)


def pixels(seed: int, number: int, channels: int, size: int) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, (number, channels, size, size), dtype=np.uint8)


def cycle(number: int, classes: int, start: int = 0) -> Ints:
    """Labels that are all in use when the number allows it."""
    return (np.arange(start, start + number) * 3) % classes


def fashion_mnist() -> Small:
    train, test = (pixels(5, 30, 1, 28), cycle(30, 10)), (pixels(6, 20, 1, 28), cycle(20, 10))
    files = {}
    for part, (images, labels) in (("train", train), ("t10k", test)):
        files[f"{part}-images-idx3-ubyte.gz"] = idx(images[:, 0])
        files[f"{part}-labels-idx1-ubyte.gz"] = idx(labels.astype(np.uint8))
    return Small("fashion_mnist", files, train, test)


def cifar10(human: bool = False, **changes: bytes) -> Small:
    """Five batches of six images; `changes` replaces members by name, or CIFAR_10_human."""
    train, test = (pixels(7, 30, 3, 32), cycle(30, 10)), (pixels(8, 10, 3, 32), cycle(10, 10))
    batches = {f"data_batch_{i + 1}": slice(6 * i, 6 * i + 6) for i in range(5)}
    members = {name: _cifar10_batch(train[0][part], train[1][part]) for name, part in batches.items()}
    members |= {"test_batch": _cifar10_batch(*test), "batches.meta": python2_pickle({"num_vis": 3072})}
    members |= {name: content for name, content in changes.items() if name in members}
    small = Small("cifar10", {}, train, test)
    small.files["cifar-10-python.tar.gz"] = tar_gz({f"cifar-10-batches-py/{k}": v for k, v in members.items()})
    if human:
        keys = {"aggre": "aggre_label", "worst": "worse_label"} | {f"random{i}": f"random_label{i}" for i in (1, 2, 3)}
        value = {"clean_label": train[1]}
        for shift, (annotator, key) in enumerate(keys.items(), 1):
            value[key] = small.annotations[f"human_{annotator}"] = (train[1] + shift) % 10
        content = torch_zip(pickle.dumps(value, protocol=2))
        small.files["CIFAR-10_human.pt"] = changes.get("CIFAR_10_human", content)
    return small


def _cifar10_batch(images: Bytes, labels: Ints) -> bytes:
    names = [f"image_{i}.png" for i in range(len(labels))]
    rows = images.reshape(len(images), -1)
    return python2_pickle({"batch_label": "a batch", "labels": labels.tolist(), "data": rows, "filenames": names})


def cifar100(human: bool = False, **columns: Ints) -> Small:
    """`columns` are put into the annotators' file."""
    train, test = (pixels(9, 210, 3, 32), cycle(210, 100)), (pixels(10, 10, 3, 32), cycle(10, 100))
    members = {"cifar-100-python/meta": python2_pickle({"fine_label_names": ["apple"]})}
    for name, (images, labels) in (("train", train), ("test", test)):
        value = {"fine_labels": labels.tolist(), "coarse_labels": (labels % 20).tolist()}
        members[f"cifar-100-python/{name}"] = python2_pickle(value | {"data": images.reshape(len(images), -1)})
    small = Small("cifar100", {"cifar-100-python.tar.gz": tar_gz(members)}, train, test, {"coarse": train[1] % 20})
    if human:
        small.annotations["human_fine"] = (train[1] + 1) % 100
        value = {"clean_label": train[1], "noisy_label": small.annotations["human_fine"], **columns}
        small.files["CIFAR-100_human.pt"] = torch_zip(pickle.dumps(value, protocol=2), "CIFAR-100_human")
    return small


def stl10(**changes: bytes) -> Small:
    """Images stand column by column in the files, and labels count from 1."""
    train, test = (pixels(11, 24, 3, 96), cycle(24, 10)), (pixels(12, 10, 3, 96), cycle(10, 10))
    members = {"class_names.txt": b"airplane\n", "unlabeled_X.bin": bytes(3 * 96 * 96)}
    for name, (images, labels) in (("train", train), ("test", test)):
        members[f"{name}_X.bin"] = images.transpose(0, 1, 3, 2).tobytes()
        members[f"{name}_y.bin"] = (labels + 1).astype(np.uint8).tobytes()
    members |= changes
    return Small(
        "stl10", {"stl10_binary.tar.gz": tar_gz({f"stl10_binary/{k}": v for k, v in members.items()})}, train, test
    )


def imagenet32(packed: bool = False, **changes: bytes) -> Small:
    """Ten batches of four images and a validation batch, pickled or (`packed`) as npz files."""
    train, test = (pixels(13, 40, 3, 32), 320 + cycle(40, 20)), (pixels(14, 6, 3, 32), cycle(6, 1000, 990))
    parts = {f"train_data_batch_{i + 1}": (train[0][4 * i : 4 * i + 4], train[1][4 * i : 4 * i + 4]) for i in range(10)}
    files = {}
    for name, (images, labels) in (parts | {"val_data": test}).items():
        rows = images.reshape(len(images), -1)
        value = {"data": rows, "labels": (labels + 1).tolist(), "mean": train[0].reshape(40, -1).mean(axis=0)}
        content = npz(**value) if packed else pickle.dumps(value, protocol=3)
        files[f"{name}.npz" if packed else name] = changes.get(name, content)
    return Small("imagenet32", files, train, test)


SMALL: dict[str, Callable[[], Small]] = {
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar10 with human labels": lambda: cifar10(human=True),
    "cifar100": cifar100,
    "cifar100 with human labels": lambda: cifar100(human=True),
    "stl10": stl10,
    "imagenet32 pickled": imagenet32,
    "imagenet32 npz": lambda: imagenet32(packed=True),
}


# --- a web server -----------------------------------------------------------------------------------------------------

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def send(request: BaseHTTPRequestHandler, content: bytes, status: int = 200, **headers: object) -> None:
    """Headers (an underscore stands for a hyphen) and content."""
    request.send_response(status)
    for name, value in ({"Content_Length": len(content)} | headers).items():
        if value is not None:
            request.send_header(name.replace("_", "-"), str(value))
    request.end_headers()
    request.wfile.write(content)


def whole(request: BaseHTTPRequestHandler, content: bytes) -> None:
    """What a good server answers: with ranges, and a mark of the version."""
    tag = f'"{md5(content)}"'
    wanted = request.headers.get("Range")
    if wanted and request.headers.get("If-Range", tag) == tag:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        last = len(content) - 1
        send(request, content[start:], 206, ETag=tag, Content_Range=f"bytes {start}-{last}/{len(content)}")
    else:
        send(request, content, ETag=tag)


def without_ranges(request: BaseHTTPRequestHandler, content: bytes) -> None:
    send(request, content)


def cut_short(request: BaseHTTPRequestHandler, content: bytes) -> None:
    """Half of the file, and the connection is lost."""
    tag = f'"{md5(content)}"'
    send(request, content[: len(content) // 2], Content_Length=len(content), ETag=tag)


@dataclass
class Server:
    """A web server on the loopback; what it answers, and what it was asked."""

    address: str
    files: dict[str, bytes]
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    """Answers to come, by file; when they are used up the last one is repeated. No entry: the whole file."""
    asked: list[str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    """The Range header of each request."""
    closing: threading.Event = field(default_factory=threading.Event)

    def reply(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.rpartition("/")[2]
        self.asked.append(name)
        self.ranges.append(request.headers.get("Range"))
        planned = self.answers.get(name, [whole])
        answer = planned.pop(0) if len(planned) > 1 else planned[0]
        try:
            answer(request, self.files[name])
        except ConnectionError:
            """The client has seen enough."""

    def stall(self, request: BaseHTTPRequestHandler, content: bytes) -> None:
        """Half of the file, then nothing, with the connection open."""
        cut_short(request, content)
        request.wfile.flush()
        self.closing.wait(30)


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Server]:
    """A server of these files while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.reply(self)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: the tests look at `asked`."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = Server(f"http://127.0.0.1:{http.server_port}/", files)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield running
    finally:
        running.closing.set()
        http.shutdown()
        http.server_close()
