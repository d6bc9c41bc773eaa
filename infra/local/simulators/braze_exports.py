"""Segment exports of Braze: taken on at once, ready after a while, told of by a callback.

Source: Braze's page on `POST /users/export/segment`. Enforced as strictly as the other contracts. Where the page is
silent, these are assumptions: the words of errors; that a zip at an address of Braze's holds files of 5,000 users, as
a bucket of the brand's own gets a zip for each; that a callback is posted once and not again when it fails; that a user
without an external id is an object without that key; that failure is told with `"success": false`.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import requests

from infra.local.simulators.braze_workspace import Workspace
from infra.local.simulators.messages import Call, Json, Refused, Reply

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

USERS_A_FILE = 5_000
MOST_RUNNING = 100
POLL_SECONDS = 0.005
CALLBACK_TIMEOUT_SECONDS = 10

BODY_FIELDS = {
    *("segment_id", "callback_endpoint", "fields_to_export", "custom_attributes_to_export", "output_format"),
}
USER_FIELDS = {
    *("apps", "attributed_campaign", "attributed_source", "attributed_adgroup", "attributed_ad", "push_subscribe"),
    *("email_subscribe", "braze_id", "campaigns_received", "canvases_received", "cards_clicked", "country"),
    *("created_at", "created_from", "custom_attributes", "custom_events", "devices", "dob", "email", "external_id"),
    *("first_name", "gender", "home_city", "language", "last_coordinates", "last_name", "phone", "purchases"),
    *("push_tokens", "random_bucket", "time_zone", "total_revenue", "uninstalled_at", "user_aliases"),
}

Users = Sequence[str | None] | Callable[[], Iterable[str | None]]
Callbacks = Literal["once", "twice", "never"]


@dataclass
class Export:
    """One export. `callback_statuses` are what the callback endpoint answered, None for nothing at all."""

    segment_id: str
    object_prefix: str
    fields: Sequence[str]
    callback_endpoint: str
    ready_at: float
    path: Path
    state: Literal["running", "ready", "failed"] = "running"
    is_forgotten: bool = False
    callback_statuses: list[int | None] = field(default_factory=list)


class Exports:
    """What a test sets: all of it holds for exports that begin afterwards, but for `valid_seconds`.

    `seconds`: how long an export takes, before `latency_scale`. `callbacks` and `callback_delay_seconds`: how often
    Braze calls back, and how long after the export is there. `fails`: exports come to nothing. `valid_seconds`: how
    long an address is good. `to_bucket`: the brand's own storage, an S3 client and the bucket's name.
    """

    def __init__(
        self,
        workspace: Workspace,
        lock: threading.RLock,
        clock: Callable[[], float],
        latency_scale: float,
        base_url: Callable[[], str],
    ) -> None:
        self.seconds = 20.0
        self.callbacks: Callbacks = "once"
        self.callback_delay_seconds = 0.0
        self.fails = False
        self.valid_seconds = 4 * 3600.0
        self.to_bucket: tuple[S3Client, str] | None = None
        self._workspace = workspace
        self._lock = lock
        self._clock = clock
        self._latency_scale = latency_scale
        self._base_url = base_url
        self._users: dict[str, Users] = {}
        self._exports: list[Export] = []
        self._folder: Path | None = None
        self._stopped = threading.Event()

    def set_users(self, segment_id: str, users: Users) -> None:
        """The external ids of a segment's users, None for an anonymous one; a function makes them anew each time."""
        with self._lock:
            self._users[segment_id] = users

    @property
    def all(self) -> list[Export]:
        """The exports that were taken on, oldest first."""
        with self._lock:
            return list(self._exports)

    def forget(self) -> None:
        """Forget exports, running ones too; users stay."""
        with self._lock:
            for export in self._exports:
                export.is_forgotten = True
            self._exports.clear()

    def stop(self) -> None:
        """End running exports and delete what was written."""
        self._stopped.set()
        self.forget()
        with self._lock:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None

    # --- routes -----------------------------------------------------------------------------------------------------

    def begin(self, call: Call, _params: Mapping[str, str]) -> Reply:
        """`{"message":"success","object_prefix","url"}`; `url` is null when the brand has its own storage."""
        body = _checked(call, with_own_storage=self.to_bucket is not None)
        segment_id = body["segment_id"]
        if segment_id not in self._workspace.segments:
            raise _bad("Invalid Segment ID")
        running = [export for export in self._exports if export.state == "running"]
        if any(export.segment_id == segment_id for export in running) or len(running) >= MOST_RUNNING:
            raise Refused(Reply(429, {"message": "An export of this segment is running, or too many are"}))
        object_prefix = f"{uuid.uuid4()}-{int(call.received_at)}"
        export = Export(
            segment_id,
            object_prefix,
            body["fields_to_export"],
            body.get("callback_endpoint") or "",
            call.received_at + self.seconds * self._latency_scale,
            self._home() / f"{object_prefix}.zip",
        )
        self._exports.append(export)
        plan = (self.fails, self.to_bucket, self.callbacks, self.callback_delay_seconds)
        threading.Thread(target=self._run, args=(export, *plan), name="export", daemon=True).start()
        url = None if self.to_bucket else self._url(export)
        return Reply(200, {"message": "success", "object_prefix": object_prefix, "url": url})

    def download(self, call: Call, params: Mapping[str, str]) -> Reply:
        """The zip, to whoever knows its address; 403 before it is there and when it is there no longer."""
        for export in self._exports:
            if params["name"] == f"{export.object_prefix}.zip" and export.state == "ready":
                if call.received_at > export.ready_at + self.valid_seconds:
                    break
                return Reply(200, export.path, content_type="application/zip")
        return Reply(403, "<Error><Code>AccessDenied</Code></Error>", content_type="application/xml")

    # --- an export --------------------------------------------------------------------------------------------------

    def _run(
        self,
        export: Export,
        fails: bool,
        to_bucket: tuple[S3Client, str] | None,
        callbacks: Callbacks,
        callback_delay_seconds: float,
    ) -> None:
        if not fails and to_bucket is None:
            self._write_zip(export)
        if not self._wait_until(export, export.ready_at):
            return
        if not fails and to_bucket is not None:
            self._write_objects(export, *to_bucket)
        with self._lock:
            export.state = "failed" if fails else "ready"
        if not export.callback_endpoint or callbacks == "never":
            return
        if not self._wait_until(export, export.ready_at + callback_delay_seconds):
            return
        told: dict[str, Json] = {"success": not fails}
        if not fails and to_bucket is None:
            told["url"] = self._url(export)
        for _ in range(2 if callbacks == "twice" else 1):
            export.callback_statuses.append(_posted(export.callback_endpoint, told))

    def _wait_until(self, export: Export, moment: float) -> bool:
        """False when the export is forgotten before then."""
        while self._clock() < moment and not export.is_forgotten:
            self._stopped.wait(POLL_SECONDS)
        return not export.is_forgotten

    def _write_zip(self, export: Export) -> None:
        with zipfile.ZipFile(export.path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for number, lines in enumerate(self._files(export)):
                archive.writestr(f"{export.object_prefix}-{number:06d}.json", lines)

    def _write_objects(self, export: Export, s3: S3Client, bucket: str) -> None:
        day = datetime.fromtimestamp(self._clock(), UTC).date()
        folder = f"segment-export/{export.segment_id}/{day}/{export.object_prefix}"
        for number, lines in enumerate(self._files(export)):
            name = hashlib.sha256(f"{export.object_prefix} {number}".encode()).hexdigest()[:32]
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(f"{name}.json", lines)
            s3.put_object(Bucket=bucket, Key=f"{folder}/{name}.zip", Body=packed.getvalue())

    def _files(self, export: Export) -> Iterator[str]:
        with self._lock:
            users = self._users.get(export.segment_id, ())
        waiting = iter(users() if callable(users) else users)
        while some := list(islice(waiting, USERS_A_FILE)):
            yield "\n".join(_line(external_id, export.fields) for external_id in some)

    def _url(self, export: Export) -> str:
        return f"{self._base_url()}/exports/{export.object_prefix}.zip"

    def _home(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="braze-exports-"))
        return self._folder


def _line(external_id: str | None, fields: Sequence[str]) -> str:
    user = {"external_id": external_id} if external_id is not None and "external_id" in fields else {}
    if "braze_id" in fields:
        user["braze_id"] = uuid.uuid4().hex[:24]
    return json.dumps(user, separators=(",", ":"))


def _posted(url: str, body: Json) -> int | None:
    try:
        return requests.post(url, json=body, timeout=CALLBACK_TIMEOUT_SECONDS, allow_redirects=False).status_code
    except (requests.RequestException, ValueError):  # the latter for an address that is none
        return None


def _checked(call: Call, *, with_own_storage: bool) -> dict[str, Json]:
    try:
        body = call.json()
    except ValueError:
        raise _bad("Error while parsing request body. Please check your syntax.") from None
    if not isinstance(body, dict):
        raise _bad("The body must be an object")
    if unknown := body.keys() - BODY_FIELDS:
        raise _bad(f"{min(unknown)} is not a parameter of this endpoint")
    if not isinstance(body.get("segment_id"), str) or not body["segment_id"]:
        raise _bad("segment_id is required")
    fields = body.get("fields_to_export")
    if not isinstance(fields, list) or not fields:
        raise _bad("fields_to_export is required")
    if not set(map(str, fields)) <= USER_FIELDS:
        raise _bad("fields_to_export holds an unknown field")
    if not isinstance(body.get("callback_endpoint", ""), str):
        raise _bad("callback_endpoint must be a string")
    if body.get("output_format", "zip") not in (("zip", "gzip") if with_own_storage else ("zip",)):
        raise _bad("output_format must be zip, or gzip with storage of one's own")
    if "custom_attributes_to_export" in body and "custom_attributes" in fields:
        raise _bad("custom_attributes_to_export and custom_attributes exclude one another")
    return cast(dict[str, Json], body)


def _bad(message: str) -> Refused:
    return Refused(Reply(400, {"message": message}))
