"""One file over HTTP: watched, bounded and resumed; it appears under its name whole and verified, or not at all."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPMessage
from pathlib import Path
from typing import IO

from collabpipe.catalogue.sources import SourceFile
from collabpipe.common.errors import CollabpipeError, unwritable
from collabpipe.common.files import flush_folder
from collabpipe.common.progress import Progress
from collabpipe.data.raw import WrongSum, verify

TIMEOUT_SECONDS = 30.0
"""The longest silence of a server."""

ATTEMPTS = 4
"""At each address."""

PAUSE_SECONDS = 1.0
"""Before the second attempt; doubled before each further one."""

MOST_BYTES = 1 << 32
"""The most that a file of unknown size may have; the largest of known size has 2,640,397,119."""

CHUNK_BYTES = 1 << 18
MEGABYTE = 1e6


WEB = ("http://", "https://")


class Unreachable(CollabpipeError):
    """A download that failed on its way; `again` says whether another attempt may help."""

    def __init__(self, message: str, again: bool):
        super().__init__(message)
        self.again = again


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects to other web addresses only: urllib would follow one to ftp."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The request for `newurl`.

        Raises:
            Unreachable: it is no web address.
        """
        if not newurl.startswith(WEB):
            fp.close()
            raise Unreachable(f"{req.full_url}: leads to {newurl}; only http and https addresses are fetched.", False)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(file: SourceFile, addresses: Sequence[str], accept: Mapping[str, str], target: Path) -> None:
    """Bring `file` from the first of `addresses` (folders on web servers) that has it to `target`.

    What an interrupted transfer has brought stays next to it as NAME.part. Another process may continue it.

    Raises:
        CollabpipeError: no address has it, or the disk is full; each address's failure is told.
    """
    part = target.with_name(f"{target.name}.part")
    failures: list[str] = []
    for address in addresses:
        transfer = _Transfer(file, f"{address.rstrip('/')}/{file.name}", accept, part)
        for attempt in range(ATTEMPTS):
            if attempt:
                pause = PAUSE_SECONDS * 2 ** (attempt - 1)
                Progress(file.name).say(f"{failures[-1]} Trying again in {pause:.0f} s.")
                time.sleep(pause)
            try:
                transfer.run()
                part.replace(target)
                flush_folder(target.parent)
                return
            except (Unreachable, WrongSum) as error:
                failures.append(str(error))
                if not getattr(error, "again", False):
                    break
            except OSError as error:
                part.unlink(missing_ok=True)  # on a full disk it would be in the way
                raise unwritable(target, error) from error
    raise CollabpipeError(
        "\n".join(
            [
                f"cannot fetch {file.name}:",
                *(f"  {failure}" for failure in dict.fromkeys(failures)),
                "Check the connection, name a mirror, or set data_dir to a folder that holds the file.",
            ]
        )
    )


@dataclass
class _Transfer:
    """A file's way from one address to `part`."""

    file: SourceFile
    url: str
    accept: Mapping[str, str]
    part: Path
    tag: str | None = None
    """The server's mark of the version that `part` is of (its strong ETag)."""

    @property
    def size(self) -> int | None:
        """Bytes that the file must have; a sum that the user accepts says nothing of them."""
        return None if self.file.name in self.accept else self.file.size

    def run(self) -> None:
        """Receive and verify; what was put together wrongly from two transfers is fetched once from the start.

        Raises:
            Unreachable: interrupted, refused, or plainly not the file.
            WrongSum: whole, but another file.
        """
        resumed = self._receive()
        try:
            verify(self.part, self.file, self.accept, self.url)
        except WrongSum:
            self.part.unlink()
            if not resumed:
                raise
            self.run()
            return
        with self.part.open("rb") as file:
            os.fsync(file.fileno())

    def _receive(self) -> bool:
        """Fill `part`; whether it was continued rather than begun."""
        have = self.part.stat().st_size if self.part.exists() else 0
        if have and have == self.size:
            return True
        answer = self._ask(have)
        with answer:
            start = have if answer.status == http.HTTPStatus.PARTIAL_CONTENT else 0
            total = self._examine(answer, start)
            done = start
            with self.part.open("ab" if start else "wb") as sink, self._progress(total) as progress:
                while chunk := self._read(answer, (total or MOST_BYTES) - done):
                    sink.write(chunk)
                    done += len(chunk)
                    progress.advance(done / MEGABYTE)
                    progress.describe(f"{done / MEGABYTE:.0f} MB" + (f" of {total / MEGABYTE:.0f}" if total else ""))
        if done < (total or 0):
            raise Unreachable(f"{self.url}: ended after {done} of {total} bytes.", again=True)
        if total is None and done >= MOST_BYTES:
            self.part.unlink()
            raise Unreachable(f"{self.url}: does not end after {done} bytes.", again=False)
        return start > 0

    def _progress(self, total: int | None) -> Progress:
        return Progress(self.file.name, (total or 0) / MEGABYTE, unit="MB", work=f"downloading {self.url}")

    def _ask(self, have: int) -> http.client.HTTPResponse:
        """The server's answer, for what lies beyond the first `have` bytes."""
        if not self.url.startswith(WEB):
            raise Unreachable(f"{self.url}: only http and https addresses are fetched.", again=False)
        headers = {"User-Agent": "collabpipe"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if self.tag:
                headers["If-Range"] = self.tag
        try:
            request = urllib.request.Request(self.url, headers=headers)  # noqa: S310 (scheme checked)
            opener = urllib.request.build_opener(_WebOnly)
            answer: http.client.HTTPResponse = opener.open(request, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise self._other_version() from error
            again = error.code >= 500 or error.code in (http.HTTPStatus.REQUEST_TIMEOUT, 429)
            raise Unreachable(f"{self.url}: HTTP {error.code} {error.reason}.", again) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self.url}: {getattr(error, 'reason', None) or error!r}.", again=True) from error
        except ValueError as error:
            raise Unreachable(f"{self.url}: is no address: {error}.", again=False) from error
        return answer

    def _examine(self, answer: http.client.HTTPResponse, start: int) -> int | None:
        """The bytes that the whole file will have, as far as is known, before any is read.

        Raises:
            Unreachable: what is announced is not the file.
        """
        if answer.headers.get_content_type() == "text/html":
            raise Unreachable(f"{self.url}: is a web page (a login, an error), not the file.", again=False)
        if start and not (answer.headers["Content-Range"] or "").startswith(f"bytes {start}-"):
            raise self._other_version()
        announced = None if answer.length is None else start + answer.length
        if announced is not None and announced != (self.size or announced):
            if start:
                raise self._other_version()
            why = f"{self.url}: announces {announced} bytes where {self.size} belong: it is another file."
            raise Unreachable(why, again=False)
        if (announced or 0) > MOST_BYTES:
            raise Unreachable(f"{self.url}: announces {announced} bytes; at most {MOST_BYTES} are read.", again=False)
        tag = answer.headers["ETag"]
        self.tag = tag if tag and not tag.startswith("W/") else None
        return self.size or announced

    def _other_version(self) -> Unreachable:
        """What was received so far does not fit to what the server has now: begin again."""
        self.part.unlink()
        self.tag = None
        return Unreachable(f"{self.url}: has changed since a part of it was fetched.", again=True)

    def _read(self, answer: http.client.HTTPResponse, most: int) -> bytes:
        try:
            return answer.read1(min(CHUNK_BYTES, most))
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self.url}: the connection was lost: {error!r}.", again=True) from error
