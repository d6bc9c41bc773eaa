"""Wallets fetched before a big send, so that its messages need no call to SessionM; what any import is made of is in
`bulk`, and a segment's export is read by `tag_import`."""
