"""How a file is written: its encoding, its delimiter, and which column holds what, from its first lines.

The encoding is announced, or said by a byte order mark, else it is UTF-8; it is never guessed, for a name in the wrong
letters looks like a name. The first line names columns, in any order and case. A file with one column and no such line
is a list of ids, and what is to be done with them is said when it is announced.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from bulk.jobs import Options
from bulk.rows import TagFields, label_of, ttl_seconds_of
from clients.vocabulary import MemberKind
from member_lists.failures import COLUMNS
from member_lists.objects import UnreadableFile, Window
from member_lists.tag_cells import tags_of
from shared.errors import InvalidInput
from shared.validation import convert

DELIMITERS: Mapping[str, str] = {",": ",", ";": ";", "\t": "\t", "comma": ",", "semicolon": ";", "tab": "\t"}

_TRUE = frozenset({"true", "yes", "1"})
_FALSE = frozenset({"false", "no", "0", ""})

# How much is looked at to find the first record.
HEAD_BYTES = 65_536

_MARKS: Sequence[tuple[bytes, str]] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LONGEST_MARK = 4
_OF_THE_UTF_8_KIND = frozenset({"utf-8", "utf-8-sig", "ascii"})

# Names of columns without case, spaces and punctuation. Those of `_BARE` hold what `Options.member_kind` says.
_COLUMNS: Mapping[str, Sequence[str]] = {
    "user_id": ("userid", "user", "sessionmid", "sessionmuserid", "customerid", "coreuserid"),
    "external_id": ("externalid", "externaluserid", "brazeexternalid", "loyaltyid", "loyaltynumber", "extid"),
    "tags": ("tags", "tag", "tagname", "tagnames"),
    "ttl": ("ttl", "ttlseconds", "ttlinseconds", "timetolive", "expiresin", "expiresinseconds", "duration"),
    "counter": ("counter", "iscounter"),
}
_BARE = ("id", "ids", "member", "memberid")
_FAILURE_FILE = ",".join(COLUMNS)

_FIELDS = {name: field for field, names in _COLUMNS.items() for name in names}

# What Excel writes first when it is told to name its delimiter.
_DELIMITER_LINE = re.compile(r'"?sep=(?P<delimiter>[,;\t])"?\s*\Z', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Layout:
    """`columns` are positions by field (user_id, external_id, tags, ttl, counter).

    Rows begin after `header_bytes` and `header_lines`.
    """

    delimiter: str
    columns: Mapping[str, int]
    header_bytes: int
    header_lines: int


def options_of(metadata: Mapping[str, str]) -> Options:
    """What the metadata of a dropped object announces: tags, ttl, counter, id, encoding, delimiter.

    The rest is not ours. Raises `InvalidInput`. S3 writes other letters than ASCII as mail headers do (RFC 2047).
    """
    said = {
        name: _unfolded(metadata.get(name, "")) for name in ("tags", "ttl", "counter", "id", "encoding", "delimiter")
    }
    tags = tags_of(said["tags"])
    ttl_seconds = ttl_seconds_of(said["ttl"]) if said["ttl"] else None
    counter = is_true(said["counter"])
    kind: MemberKind = "user_id"
    if said["id"]:
        named = _field_of(said["id"], "user_id")
        if named not in ("user_id", "external_id"):
            raise InvalidInput("unknown kind of id", field="id", hint="Give user_id or external_id.")
        kind = "user_id" if named == "user_id" else "external_id"
    if ttl_seconds is not None or counter:
        label_of(TagFields(tags or ["any"], ttl_seconds, counter), kind)
    if tags:
        convert({"tags": tags}, TagFields)
    if said["delimiter"] and said["delimiter"].lower() not in DELIMITERS:
        raise InvalidInput("unknown delimiter", field="delimiter", hint="Give comma, semicolon or tab.")
    return Options(
        tags=tuple(tags),
        ttl_seconds=ttl_seconds,
        counter=counter,
        member_kind=kind,
        encoding=codec_of(said["encoding"]),
        delimiter=DELIMITERS.get(said["delimiter"].lower(), ""),
    )


def is_true(text: str) -> bool:
    """Whether a cell says yes; raises `InvalidInput` when it says neither yes nor no."""
    said = text.lower()
    if said not in _TRUE | _FALSE:
        raise InvalidInput("expected true or false", field="counter", hint="Give true, or leave it empty.")
    return said in _TRUE


def codec_of(encoding: str) -> str:
    """Python's name of a text encoding, empty for none; raises `InvalidInput` when there is no such encoding."""
    if not encoding:
        return ""
    try:
        "".encode(encoding)
        return codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise InvalidInput(
            "no such encoding", field="encoding", hint="Give an encoding, as in utf-8, utf-16, latin-1 or cp1252."
        ) from None


def in_utf_8(file: Window, announced: str) -> Window:
    """The file in UTF-8, a byte order mark of which may be left; raises `UnreadableFile` for an unknown encoding."""
    start = file.ahead(_LONGEST_MARK)
    marked = next((codec for mark, codec in _MARKS if start.startswith(mark)), "")
    try:
        codec = marked or codec_of(announced)
    except InvalidInput as error:
        raise UnreadableFile(f"{error.message}: {announced}; {error.hint}") from None
    if not codec or codec in _OF_THE_UTF_8_KIND:
        return file
    pieces = _rewritten(file, codec)
    return Window(lambda _: next(pieces, b""))


def layout_of(head: bytes, is_whole: bool, options: Options) -> Layout:
    """The layout of a file that begins with `head`, UTF-8, which is all of it when `is_whole`.

    Raises `UnreadableFile`, saying what is missing.
    """
    lines = _Head(head.removeprefix(codecs.BOM_UTF8))
    delimiter = options.delimiter
    if said := _DELIMITER_LINE.match(lines.text()):
        lines.begin += 1
        delimiter = delimiter or said["delimiter"]
    lines.pass_over_blanks()
    if not lines.text():
        raise UnreadableFile("the file is empty; its first line must name the columns")
    if "\x00" in lines.text():
        raise UnreadableFile(
            "this is no text, or UTF-16 without its mark; save it as CSV UTF-8, or announce its encoding"
        )
    if lines.text().rstrip("\r\n") == _FAILURE_FILE:
        delimiter = ","  # whatever was said of the file it came of
    tried = _tried(lines, [delimiter] if delimiter else [",", ";", "\t"], is_whole)
    best = max(tried, key=lambda each: (_known(tried[each][0], options), len(tried[each][0])))
    cells, end = tried[best]
    if not _known(cells, options):
        if not options.tags or any(sum(map(bool, others)) != 1 for others, _ in tried.values()):
            raise UnreadableFile(
                "the first line must name the columns: user_id or external_id, tags, and ttl or counter, separated by "
                "commas, semicolons or tabs; only a list of bare ids, whose tags and ttl are announced, needs none"
            )
        columns: dict[str, int] = {options.member_kind: next(at for at, cell in enumerate(cells) if cell)}
        end = lines.begin
    else:
        columns = _columns(cells, options)
    _hold_complete(columns, options)
    return Layout(best, columns, len(head) - len(lines.rest(end)), end)


class _Head:
    """The first lines of a file, as bytes with their ends; `begin` is the first that has not been passed over."""

    def __init__(self, head: bytes) -> None:
        self._lines = head.splitlines(keepends=True)
        self.begin = 0

    def text(self) -> str:
        """The line at `begin`; empty after the last."""
        return self._lines[self.begin].decode("utf-8", "replace") if self.begin < len(self._lines) else ""

    def pass_over_blanks(self) -> None:
        while self.text() and not self.text().strip(" ,;\t\r\n"):
            self.begin += 1

    def record(self, delimiter: str, is_whole: bool) -> tuple[list[str], int]:
        """The cells of the record at `begin`, without the spaces around them, and the line after it.

        Raises `csv.Error` when it is no CSV with this delimiter.
        """
        remaining = [line.decode("utf-8", "replace") for line in self._lines[self.begin :]]
        reader = csv.reader(remaining, delimiter=delimiter, strict=True, skipinitialspace=True)
        cells = next(reader)
        if reader.line_num == len(remaining) and not is_whole:
            raise UnreadableFile(f"the first line is longer than {HEAD_BYTES} bytes, which no names of columns are")
        return [cell.strip() for cell in cells], self.begin + reader.line_num

    def rest(self, line: int) -> bytes:
        return b"".join(self._lines[line:])


def _tried(lines: _Head, delimiters: Sequence[str], is_whole: bool) -> dict[str, tuple[list[str], int]]:
    """The first record as each delimiter has it."""
    tried: dict[str, tuple[list[str], int]] = {}
    reason = ""
    for delimiter in delimiters:
        try:
            tried[delimiter] = lines.record(delimiter, is_whole)
        except csv.Error as error:
            reason = reason or str(error)
    if not tried:
        raise UnreadableFile(f"the first line is not CSV: {reason}")
    return tried


def _field_of(name: str, bare: str) -> str:
    """The field a column of this name holds, empty when it is none of ours."""
    plain = re.sub(r"[\W_]+", "", name.casefold())
    return bare if plain in _BARE else _FIELDS.get(plain, "")


def _known(cells: Sequence[str], options: Options) -> int:
    return sum(bool(_field_of(cell, options.member_kind)) for cell in cells)


def _columns(cells: Sequence[str], options: Options) -> dict[str, int]:
    columns: dict[str, int] = {}
    for position, cell in enumerate(cells):
        field = _field_of(cell, options.member_kind)
        if field in columns:
            raise UnreadableFile(
                f"the first line names a column twice: {cells[columns[field]]} and {cell} both hold {field}; keep one"
            )
        if field:
            columns[field] = position
    return columns


def _hold_complete(columns: Mapping[str, int], options: Options) -> None:
    if not {"user_id", "external_id"} & columns.keys():
        raise UnreadableFile("the first line must name the column user_id or external_id, whose members get the tags")
    if "tags" not in columns and not options.tags:
        raise UnreadableFile("there is no column tags, and no tags were announced; add the column, or announce them")
    if not {"ttl", "counter"} & columns.keys() and options.ttl_seconds is None and not options.counter:
        raise UnreadableFile(
            "there is no column ttl or counter, and neither was announced: a tag without ttl is a counter in SessionM; "
            "add the column, or announce one"
        )


def _rewritten(file: Window, codec: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(codec)("replace")
    packed = b"begin"
    while packed:
        packed = file.ahead(HEAD_BYTES)
        file.take(len(packed))
        try:
            piece = decoder.decode(packed, final=not packed).encode("utf-8", "replace")
        except UnicodeError:
            raise UnreadableFile(f"this file is not {codec}, as was announced") from None
        if piece:
            yield piece


def _unfolded(value: str) -> str:
    try:
        return str(make_header(decode_header(value))).strip()
    except (HeaderParseError, LookupError, UnicodeError):
        return value.strip()
