"""Brings a source's files to the results folder: downloaded or copied, verified, whole or not at all."""

from __future__ import annotations

import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
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


def _verify(path: Path, file: SourceFile, origin: object) -> None:
    found = file_digest(path, "md5")
    if not file.accepts(found):
        raise CollabpipeError(
            f"{origin}: wrong sum. Expected md5 {file.md5}, found {found} ({path.stat().st_size} bytes). "
            "The file is damaged or another one; nothing of it was kept. Get it again."
        )


def _download(file: SourceFile, addresses: Sequence[str], target: Path) -> None:
    """Try every address, each a few times with growing pauses."""
    failures = []
    for address in addresses:
        url = address.rstrip("/") + "/" + file.name
        for attempt in range(ATTEMPTS):
            try:
                with atomic_path(target) as temporary:
                    _stream(url, temporary)
                    _verify(temporary, file, url)
                return
            except urllib.error.HTTPError as error:
                failures.append(f"{url}: HTTP {error.code} {error.reason}")
                if error.code < 500:
                    break
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                failures.append(f"{url}: {getattr(error, 'reason', None) or error}")
            except CollabpipeError as error:
                failures.append(str(error))
                break
            time.sleep(0.5 * 2**attempt)
    raise CollabpipeError(
        "\n".join(
            [
                f"cannot fetch {file.name}:",
                *(f"  {failure}" for failure in failures),
                "Check the connection, or set data_dir to a folder that holds the file.",
            ]
        )
    )


def _stream(url: str, target: Path) -> None:
    if not url.startswith(("http://", "https://")):
        raise CollabpipeError(f"{url}: only http and https addresses are fetched.")
    request = urllib.request.Request(url, headers={"User-Agent": "collabpipe"})  # noqa: S310 (scheme checked)
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer, target.open("wb") as file:  # noqa: S310
        shutil.copyfileobj(answer, file, 1 << 20)
