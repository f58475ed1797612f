"""Brings a source's files to the results folder: downloaded or copied, verified, whole or not at all."""

from __future__ import annotations

import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from collabpipe.data.sources import SOURCES, SourceFile
from collabpipe.errors import CollabpipeError
from collabpipe.files import atomic_path, file_digest, write_json

TIMEOUT_SECONDS = 30.0
ATTEMPTS = 3


def fetch(source: str, folder: Path, data_dir: Path | None = None, addresses: Sequence[str] | None = None) -> None:
    """Fill `folder` with the verified files of `source` and write `fetched.json`, the record of their sums.

    Args:
        source: a name of `SOURCES`.
        folder: where the files go; a verified file that lies there is kept.
        data_dir: the user's own copies; None: download from `addresses`, else from the source's own.
        addresses: folders on web servers, tried in order.

    Raises:
        CollabpipeError: a file is missing, unreachable or of another sum; nothing half-written is left.
    """
    spec = SOURCES[source]
    for file in spec.files:
        target = folder / file.name
        if target.exists() and file.accepts(file_digest(target, "md5")):
            continue
        if data_dir is not None:
            _copy(file, data_dir, target)
        else:
            _download(file, spec.addresses if addresses is None else addresses, target)
    sums = {file.name: file_digest(folder / file.name, "md5") for file in spec.files}
    write_json(folder / "fetched.json", {"source": source, "md5": sums})


def _copy(file: SourceFile, data_dir: Path, target: Path) -> None:
    own = data_dir / file.name
    if not own.is_file():
        raise CollabpipeError(
            f"{data_dir}: holds no {file.name}. Put the file there, or leave out data_dir to download it."
        )
    with atomic_path(target) as temporary:
        shutil.copyfile(own, temporary)
        _verify(temporary, file, own)


class WrongSum(CollabpipeError):
    """A file that is whole but is not the one that was asked for."""


def _verify(path: Path, file: SourceFile, origin: object) -> None:
    found = file_digest(path, "md5")
    if not file.accepts(found):
        raise WrongSum(
            f"{origin}: wrong sum. Expected md5 {file.md5}, found {found} ({path.stat().st_size} bytes). "
            "The file is damaged or another one; nothing of it was kept. Get it again."
        )


class Unreachable(CollabpipeError):
    """A download that failed on its way; `again` says whether another attempt may help."""

    def __init__(self, message: str, again: bool):
        super().__init__(message)
        self.again = again


def _download(file: SourceFile, addresses: Sequence[str], target: Path) -> None:
    """Try every address, each a few times with growing pauses."""
    failures = []
    for address in addresses:
        url = address.rstrip("/") + "/" + file.name
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(0.5 * 2**attempt)
            try:
                with atomic_path(target) as temporary:
                    with temporary.open("wb") as sink:
                        sink.writelines(_chunks(url))
                    _verify(temporary, file, url)
                return
            except Unreachable as error:
                failures.append(str(error))
                if not error.again:
                    break
            except WrongSum as error:
                failures.append(str(error))
                break
    raise CollabpipeError(
        "\n".join(
            [
                f"cannot fetch {file.name}:",
                *(f"  {failure}" for failure in failures),
                "Check the connection, or set data_dir to a folder that holds the file.",
            ]
        )
    )


def _chunks(url: str) -> Iterator[bytes]:
    """The body at `url`, a megabyte at a time.

    Raises:
        Unreachable: the server answers with an error, stalls, or ends before the length it has announced.
    """
    if not url.startswith(("http://", "https://")):
        raise Unreachable(f"{url}: only http and https addresses are fetched.", again=False)
    request = urllib.request.Request(url, headers={"User-Agent": "collabpipe"})  # noqa: S310 (scheme checked)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            while chunk := answer.read(1 << 20):
                yield chunk
            if answer.length:
                raise http.client.IncompleteRead(b"", answer.length)
    except urllib.error.HTTPError as error:
        raise Unreachable(f"{url}: HTTP {error.code} {error.reason}", again=error.code >= 500) from error
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{url}: {getattr(error, 'reason', None) or error!r}", again=True) from error
