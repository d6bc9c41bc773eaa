"""Every error that rooms share, drawn once. Handlers catch nodes of this tree, never `Exception`.

    BundleError
    ├── RequestError              the caller's fault: says what, where and what to do; never worth repeating
    │   ├── InvalidInput          400
    │   ├── NotAllowed            403
    │   ├── NotFound              404
    │   ├── TooLarge              413
    │   └── UnsupportedMediaType  415
    ├── ConfigurationError        ours to mend: a secret or setting is missing or malformed
    ├── StoreUnavailable          a queue, table, bucket or secret of ours did not answer; worth repeating
    ├── InProgress                another worker has it in hand; worth repeating
    ├── DeadlineExceeded          our own time budget is used up
    └── UpstreamError             a vendor
        ├── UpstreamUnreachable   no connection, so nothing was sent: safe to repeat
        ├── UpstreamUnknown       sent, but no complete answer: the vendor may or may not have acted
        ├── UpstreamThrottled     429; carries the wait the vendor asked for, in seconds
        ├── UpstreamUnavailable   500 or 503: the vendor failed, and did nothing
        ├── UpstreamUnauthorized  401 or 403 even with a fresh credential: ours to mend, nothing was done
        ├── UpstreamResting       it failed lately, so it was not asked: safe to repeat later
        ├── UpstreamBusy          it has as many calls of ours as it may have, so it was not asked: as above
        ├── UpstreamGarbled       answered, but not in the documented shape
        ├── AnswerTooLarge        answered well, but more than Braze lets a message see
        └── UpstreamRefused       a documented, permanent no; carries the vendor's code

What only one room raises is a leaf in that room: `TooLargeToKeep` (shared/cache.py), `Outdated` and `Later`
(bulk/jobs.py), `UnreadableFile` (member_lists/objects.py).

Every error has a `code`, stable and in snake_case, which is also the `reason` of an answer, a verdict or a log line.
No message ever holds a request body, a credential or a member's data.
"""

from __future__ import annotations

from typing import ClassVar


class BundleError(Exception):
    """The root; `code` is the stable reason a caller can act on, `retry_after_seconds` a wait somebody asked for."""

    code = "error"
    retry_after_seconds: float = 0.0


class RequestError(BundleError):
    """The caller sent something we refuse.

    `code` names the kind of fault, `field` where it is (dotted path, header or query name), `message` what is wrong
    and `hint` what to do about it.
    """

    status: ClassVar[int] = 400
    code = "invalid_request"

    def __init__(self, message: str, *, code: str | None = None, field: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.field = field
        self.hint = hint


class InvalidInput(RequestError):
    status = 400
    code = "invalid_field"


class NotAllowed(RequestError):
    status = 403
    code = "not_allowed"


class NotFound(RequestError):
    status = 404
    code = "not_found"


class TooLarge(RequestError):
    status = 413
    code = "too_large"


class UnsupportedMediaType(RequestError):
    status = 415
    code = "unsupported_media_type"


class ConfigurationError(BundleError):
    code = "misconfigured"


class StoreUnavailable(BundleError):
    code = "store_unavailable"


class InProgress(BundleError):
    code = "in_progress"


class DeadlineExceeded(BundleError):
    code = "deadline_exceeded"


class UpstreamError(BundleError):
    """`upstream` names the vendor API, as in "SessionM Connect"; `detail` is our own wording, never the vendor's."""

    code = "upstream_error"

    def __init__(self, upstream: str, detail: str = "") -> None:
        super().__init__(f"{upstream}: {detail or type(self).code}")
        self.upstream = upstream
        self.detail = detail


class UpstreamUnreachable(UpstreamError):
    code = "upstream_unreachable"


class UpstreamUnknown(UpstreamError):
    code = "upstream_no_answer"


class UpstreamThrottled(UpstreamError):
    code = "upstream_throttled"

    def __init__(self, upstream: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(upstream)
        self.retry_after_seconds = retry_after_seconds or 0.0


class UpstreamUnavailable(UpstreamError):
    """`overloaded` when the vendor said that it has too much to do (503)."""

    code = "upstream_unavailable"

    def __init__(self, upstream: str, detail: str = "", *, overloaded: bool = False) -> None:
        super().__init__(upstream, detail)
        self.overloaded = overloaded


class UpstreamUnauthorized(UpstreamError):
    code = "upstream_unauthorized"


class UpstreamResting(UpstreamError):
    code = "circuit_open"


class UpstreamBusy(UpstreamError):
    code = "upstream_busy"


class UpstreamGarbled(UpstreamError):
    code = "upstream_garbled"


class AnswerTooLarge(UpstreamError):
    code = "answer_too_large"


class UpstreamRefused(UpstreamError):
    """`vendor_code` is the vendor's own error code, as in "user_not_found", and `vendor_message` its own words.

    The words may echo what was sent, so they go to whoever asks for the outcome, and are no part of the error's text.
    """

    code = "upstream_refused"

    def __init__(self, upstream: str, vendor_code: str, vendor_message: str = "") -> None:
        super().__init__(upstream, vendor_code)
        self.vendor_code = vendor_code
        self.vendor_message = vendor_message
