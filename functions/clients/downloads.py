"""A file at an address that a vendor gave away: fetched without a credential, piece by piece, and from nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPException
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from urllib3 import Timeout
from urllib3.exceptions import HTTPError

from clients.pool import pooled
from clients.transport import Timeouts
from shared.errors import UpstreamUnavailable, UpstreamUnknown

_PIECE_BYTES = 1_048_576

# As it is: what is packed stays packed.
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "sessionm-braze-bundle"}

_BROKEN = (HTTPError, HTTPException, OSError, ValueError)


def may_be_fetched(url: str, vendor_url: str) -> bool:
    """Whether an address can be followed without being led into a network of ours.

    By https, for then whoever answers holds a certificate for the name, which nothing inside does; or where the vendor
    itself is, however that is reached. An address without a name is followed in no case.
    """
    try:
        address = urlsplit(url)
        if _origin(address) == _origin(urlsplit(vendor_url)):
            return True
        return address.scheme == "https" and _is_name(address.hostname or "") and not address.username
    except ValueError:
        return False


def downloaded(upstream: str, url: str, timeouts: Timeouts) -> Iterator[bytes]:
    """The file, a piece at a time; the last piece is followed by an error when the file broke off.

    Raises `UpstreamUnavailable` when something else than the file is there (no redirect is followed), and
    `UpstreamUnknown` when nothing came, or not all of it.
    """
    try:
        address = urlsplit(url)
        target = address._replace(scheme="", netloc="", fragment="").geturl()
        with (
            closing(pooled(f"{address.scheme}://{address.netloc}", 1)) as pool,
            pool.urlopen(
                "GET",
                target or "/",
                headers=_HEADERS,
                retries=False,
                redirect=False,
                timeout=Timeout(connect=timeouts.connect_seconds, read=timeouts.read_seconds),
                preload_content=False,
            ) as response,
        ):
            if response.status != 200:
                raise UpstreamUnavailable(upstream, f"status {response.status} at the address of the file")
            yield from response.stream(_PIECE_BYTES, decode_content=False)
    except _BROKEN as error:
        raise UpstreamUnknown(upstream, f"the file did not come: {type(error).__name__}") from None


def _origin(address: SplitResult) -> tuple[str, str, int | None]:
    return address.scheme, address.hostname or "", address.port


def _is_name(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return "." in host
    return False
