"""Where a caller may call from: networks, or names of the lists in braze_addresses.json.

Braze publishes, for each of its clusters, the addresses that Connected Content and webhooks come from ("IP allowlist"
on its page on making an API call), and changes them. So they are a file to edit; a network can also stand in the
callers secret itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.errors import ConfigurationError

ADDRESSES_PATH = Path(__file__).with_name("braze_addresses.json")


class AddressList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Addresses or networks that several names stand for."""

    names: list[str]
    addresses: Annotated[list[str], Meta(min_length=1)]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    about: str
    lists: list[AddressList]


@cache
def published() -> Mapping[str, Sequence[str]]:
    """The lists of the file, by name. Read when the first caller has `sources`."""
    file = msgspec.json.decode(ADDRESSES_PATH.read_bytes(), type=_File)
    return {name: each.addresses for each in file.lists for name in each.names}


def networks_of(source: str) -> list[IPv4Network | IPv6Network]:
    """What a name or network stands for; raises `ConfigurationError` when it is neither."""
    try:
        return [ip_network(address) for address in published().get(source, [source])]
    except ValueError:
        raise ConfigurationError(
            f"a caller's source {source} is neither a network nor a name in {ADDRESSES_PATH.name}"
        ) from None


def comes_from(sources: Sequence[str], address: str) -> bool:
    """Whether an address is in one of these. Raises `ConfigurationError` for a source that means nothing."""
    networks = [network for source in sources for network in networks_of(source)]
    try:
        asked = _plain(ip_address(address))
    except ValueError:
        return False
    return any(asked in network for network in networks)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address that is written as IPv6 is the IPv4 address."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
