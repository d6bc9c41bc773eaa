"""Wallets fetched before a big send, so that its messages need no call to SessionM.

A list or a segment is read by `member_lists`, like one for tags; jobs and parcels are those of `bulk`.
"""
