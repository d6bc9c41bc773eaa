"""Rows out of a Braze segment export: a JSON object for each user, one a line, of which the external id counts.

Source: Braze's page on POST /users/export/segment. A user without an external id, an anonymous one, cannot be known to
SessionM and is skipped.
"""

from __future__ import annotations

import msgspec

from bulk.jobs import Options
from bulk.parcels import Label
from bulk.rows import MemberFields, TagFields, label_of
from member_lists.objects import UnreadableFile
from member_lists.records import IS_ID, LISTED_CHARACTERS, Accept, Refuse
from member_lists.tag_cells import cell_of
from shared.errors import InvalidInput
from shared.outcomes import State
from shared.validation import convert


class User(msgspec.Struct, gc=False):
    external_id: str | int | None = None

    def member_id(self) -> str:
        """Empty when nobody but Braze knows the user."""
        return "" if self.external_id is None else str(self.external_id).strip()


USERS = msgspec.json.Decoder(User)


class UserLines:
    """Reads the users of one file; `Records` says how.

    Their wallets are wanted, or the tags of `options` are for them: then it raises `UnreadableFile` without any.
    """

    def __init__(self, options: Options, accept: Accept, refuse: Refuse, *, wallets: bool = False) -> None:
        self._accept = accept
        self._refuse = refuse
        self._kind = options.member_kind
        self._announced = {
            "tags": cell_of(options.tags),
            "ttl": "" if options.ttl_seconds is None else str(options.ttl_seconds),
            "counter": "true" if options.counter else "",
        }
        if wallets:
            self._label = Label(self._kind, ())
            return
        try:
            fields = convert(
                {"tags": list(options.tags), "ttl": options.ttl_seconds, "counter": options.counter}, TagFields
            )
            self._label = label_of(fields, self._kind)
        except InvalidInput as error:
            raise UnreadableFile(f"the export was ordered without {error.field}. {error.hint}") from None

    def take(self, block: bytes, line: int, _is_last: bool, _is_stuck: bool, /) -> tuple[int, int]:
        """A record is a line, so none goes on behind a block."""
        lines = block.splitlines()
        try:
            users = USERS.decode_lines(block)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            users = []
        if len(users) == len(lines):
            for number, user in enumerate(users, line):
                self._take(number, user)
        else:
            for number, each in enumerate(lines, line):
                self._take_apart(number, each)
        return len(block), line + len(lines)

    def _take_apart(self, line: int, content: bytes) -> None:
        if not content.strip():
            return
        try:
            user = USERS.decode(content)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            text = {"text": content.decode("utf-8", "replace")[:LISTED_CHARACTERS]}
            self._refuse(line, text, State.FAILED, "invalid_json", "this line is no JSON object with an external_id")
            return
        self._take(line, user)

    def _take(self, line: int, user: User) -> None:
        member_id = user.member_id()
        if not member_id:
            reason = "this user has no external_id in Braze, so SessionM cannot know it"
            self._refuse(line, self._announced, State.SKIPPED, "no_external_id", reason)
        elif IS_ID[self._kind](member_id):
            self._accept(line, member_id, self._label)
        else:
            cells = self._announced | {self._kind: member_id}
            try:
                convert({self._kind: member_id, "tags": ["any"]}, MemberFields)
            except InvalidInput as error:
                self._refuse(line, cells, State.FAILED, error.code, f"{error.field}: {error.message}. {error.hint}")
