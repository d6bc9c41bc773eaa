"""Wallets fetched before a big send, so that its messages need no call to SessionM.

handlers     endpoint answers HTTP: submit is what can be asked for, status how far it is; delivery takes parcels
delivering   fetching: what is done for a member, and where its wallet goes

A list or a segment is read by `member_lists`, like one for tags; jobs and parcels are those of `bulk`.
"""
