"""What `make run` prints for Braze is what the documentation gives away, and can be tried by the command beside it."""

from __future__ import annotations

import re
import textwrap

from infra.liquid.lint import lint
from infra.local.guide import snippets
from infra.local.settings import ROOT

TEXT = "\n".join(snippets())
PRINTED = re.findall(r"^  .+: make render TEMPLATE=(\S+)\n\n((?:    .*\n|\n)+)", TEXT, re.MULTILINE)


def test_each_snippet_is_the_file_that_its_command_renders() -> None:
    assert [name for name, _ in PRINTED] == re.findall(r"TEMPLATE=(\S+)", TEXT)
    assert len(PRINTED) == 4
    for name, text in PRINTED:
        assert textwrap.dedent(text).strip() == (ROOT / name).read_text(encoding="utf-8").strip()


def test_no_snippet_has_an_address_that_braze_does_not_call() -> None:
    assert "127.0.0.1" not in TEXT
    assert "localhost" not in TEXT
    for name, text in PRINTED:
        assert [finding for finding in lint(text) if finding.level == "error"] == [], name


def test_a_wallet_in_a_url_is_not_kept_and_not_shown_when_it_did_not_come() -> None:
    text = dict(PRINTED)["docs/snippets/wallet-by-url.liquid"]

    assert ":no_cache" in text
    assert "wallet.__http_status_code__ == 200 and wallet.ok" in text
