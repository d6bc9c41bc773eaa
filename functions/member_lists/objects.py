"""An S3 object as streams of unpacked bytes: its own, those a gzip holds, or the files of a zip one after the other.

What an object is, its first bytes say, not its name. Nothing is ever whole in memory or on a disk: a zip is read by
asking for ranges, its directory at the end first. A plain object is gone on with at any position at once; a packed one
is unpacked again up to there, which takes a fraction of the time its rows took.

Source: the S3 API's pages on GetObject and HeadObject (ranges, versions).
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from bulk.jobs import Source
from shared.aws import store
from shared.errors import InvalidInput

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

# What is asked of S3's stream at a time. A gap in a zip that is shorter is read over, a longer one asked anew.
_READ_BYTES = 1_048_576

# Lists of members pack to a fifth or a tenth. What unpacks to far more is made to keep a machine busy.
_MOST_UNPACKED_TO_PACKED = 200
_UNPACKED_BYTES_ALWAYS_FINE = 67_108_864

# The directory of a zip of two hundred thousand files.
_MOST_DIRECTORY_BYTES = 16 * 1_048_576

_GZIP, _ZIP, _ZIP_WITHOUT_FILES = b"\x1f\x8b", b"PK\x03\x04", b"PK\x05\x06"
_GONE = frozenset({"404", "NoSuchKey", "NoSuchVersion", "PreconditionFailed"})
_ENCRYPTED = 0x1
_WORKBOOK = "[Content_Types].xml"


class UnreadableFile(InvalidInput):
    """Nothing in the file can be read as rows, or nothing from here on; the message says why and what to do."""

    code = "unreadable_file"


class Window:
    """Bytes of a stream from `position` on, which can be looked at before they are taken.

    What `ahead` shows depends on the position alone, not on how one came there. `read` gives some bytes, any number,
    none at the end; `seek` goes to a position. Without `seek` what lies between is read.
    """

    def __init__(self, read: Callable[[int], bytes], seek: Callable[[int], object] | None = None) -> None:
        self._read = read
        self._seek = seek
        self._held = b""
        self.position = 0

    def ahead(self, size: int) -> bytes:
        """The next `size` bytes; fewer only when the stream ends with them."""
        while len(self._held) < size:
            more = self._read(size - len(self._held))
            if not more:
                break
            self._held += more
        return self._held[:size]

    def take(self, count: int) -> None:
        """Leaves behind bytes that `ahead` has shown."""
        self._held = self._held[count:]
        self.position += count

    def go_to(self, position: int) -> None:
        """Goes on from a later position."""
        if self._seek is not None and position > self.position + len(self._held):
            self._seek(position)
            self._held, self.position = b"", position
        while self.position < position:
            passed = len(self.ahead(min(position - self.position, _READ_BYTES)))
            if not passed:
                return
            self.take(passed)


class Package:
    """The files within one version of an object, in their order; hidden ones and folders are none of them.

    Raises `UnreadableFile` when the object is gone, empty, broken or nothing that can be read, and `StoreUnavailable`
    when S3 cannot be asked: both from every method.
    """

    def __init__(self, s3: S3Client, source: Source) -> None:
        self._object = _Object(s3, source)
        self._buffered = _Buffered(self._object, _READ_BYTES)
        self._zip: zipfile.ZipFile | None = None
        self._infos: list[zipfile.ZipInfo] = []
        magic = self._buffered.read(4)
        self._is_gzip = magic.startswith(_GZIP)
        if magic in (_ZIP, _ZIP_WITHOUT_FILES):
            with _unpacking():
                self._zip = zipfile.ZipFile(self._buffered)
            self._infos = _files_in(self._zip, self._object.size_bytes)
        else:
            self._buffered.seek(0)

    @property
    def names(self) -> Sequence[str]:
        """The names of the files; one without a name when the object is no zip."""
        return [info.filename for info in self._infos] if self._zip else [""]

    def open(self, number: int) -> Window:
        """The unpacked bytes of a file."""
        with _unpacking():
            if self._zip is not None:
                file = self._zip.open(self._infos[number])
                return _guarded(file.read, file.seek)
        if self._is_gzip:
            unpacked = gzip.GzipFile(fileobj=self._buffered)
            return _guarded(lambda size: self._bounded(unpacked, size), unpacked.seek)
        return Window(self._buffered.read, self._buffered.seek)

    def fraction(self) -> float:
        """How much of the object has been read, from 0 to 1."""
        return self._object.tell() / self._object.size_bytes

    def close(self) -> None:
        self._object.close()

    def _bounded(self, unpacked: gzip.GzipFile, size: int) -> bytes:
        content = unpacked.read(size)
        _refuse_bombs(unpacked.tell(), self._object.tell())
        return content


class _Buffered(io.BufferedReader):
    """The directory of a zip is read in one piece, and is the only thing that can be too much for memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_DIRECTORY_BYTES:
            raise UnreadableFile("the archive lists more files than lists of members are ever cut into; pack fewer")
        return super().read(size)


class _BeforeTheStart(OSError):
    """An archive says that something is there; a zip without files makes the standard library look there as well."""


class _Object(io.RawIOBase):
    """One version of an object, read from wherever one goes, by one request for as long as nobody goes elsewhere."""

    def __init__(self, s3: S3Client, source: Source) -> None:
        self._s3 = s3
        self._which: Any = {"Bucket": source.bucket, "Key": source.key}
        if source.version_id:
            self._which["VersionId"] = source.version_id
        self._position = 0
        self._found: GetObjectOutputTypeDef | None = None
        with _asking():
            found = s3.head_object(**self._which)
        self.size_bytes = found["ContentLength"]
        self._same: Any = {"IfMatch": found["ETag"]}  # in a bucket without versions another may take the name
        if not self.size_bytes:
            raise UnreadableFile("the file is empty")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}[whence]
        if position < 0:
            raise _BeforeTheStart("there is nothing before the start of a file")
        if self._found is not None and 0 <= position - self._position < _READ_BYTES:
            while self._position < position and self.read(position - self._position):
                pass
        if position != self._position:
            self._leave()
            self._position = position
        return position

    def readinto(self, buffer: Any) -> int:
        wanted = memoryview(buffer)
        content = self._next(len(wanted)) if self._position < self.size_bytes else b""
        wanted[: len(content)] = content
        self._position += len(content)
        return len(content)

    def close(self) -> None:
        self._leave()
        super().close()

    def _next(self, count: int) -> bytes:
        with _asking():
            if self._found is None:
                self._found = self._s3.get_object(**self._which, **self._same, Range=f"bytes={self._position}-")
            return self._found["Body"].read(count) if count else b""

    def _leave(self) -> None:
        if self._found is not None:
            self._found["Body"].close()
            self._found = None


def _files_in(archive: zipfile.ZipFile, packed_bytes: int) -> list[zipfile.ZipInfo]:
    infos = archive.infolist()
    if any(info.filename == _WORKBOOK for info in infos):
        raise UnreadableFile("this is an Excel workbook; save its sheet as CSV UTF-8")
    files = [info for info in infos if not info.is_dir() and not _is_hidden(info.filename)]
    for info in files:
        if info.flag_bits & _ENCRYPTED:
            raise UnreadableFile(f"{info.filename} is encrypted; pack it without a password")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UnreadableFile(f"{info.filename} is packed in an unusual way; pack it with deflate, or as .gz")
    _refuse_bombs(sum(info.file_size for info in files), packed_bytes)
    return files


def _is_hidden(name: str) -> bool:
    """What systems add for themselves, as in __MACOSX/._members.csv and .DS_Store."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith(".")


def _refuse_bombs(unpacked_bytes: int, packed_bytes: int) -> None:
    if unpacked_bytes > _UNPACKED_BYTES_ALWAYS_FINE + _MOST_UNPACKED_TO_PACKED * packed_bytes:
        raise UnreadableFile(
            f"the archive unpacks to more than {_MOST_UNPACKED_TO_PACKED} times its size; no list of members does"
        )


def _guarded(read: Callable[[int], bytes], seek: Callable[[int], object]) -> Window:
    def guarded_read(size: int) -> bytes:
        with _unpacking():
            return read(size)

    def guarded_seek(position: int) -> None:
        with _unpacking():
            seek(position)

    return Window(guarded_read, guarded_seek)


# What the standard library raises for archives that are cut off, damaged or made up.
_BROKEN = (
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    ValueError,
    NotImplementedError,
    _BeforeTheStart,
)


@contextmanager
def _unpacking() -> Iterator[None]:
    try:
        yield
    except _BROKEN:
        raise UnreadableFile("the archive is broken from here on, or was cut off; pack and upload it anew") from None


@contextmanager
def _asking() -> Iterator[None]:
    with store("import bucket"):
        try:
            yield
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _GONE:
                raise UnreadableFile(
                    "the file is gone from the bucket, or another took its name; upload it anew"
                ) from None
            raise
