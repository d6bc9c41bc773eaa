"""Members get tags in SessionM: asked for by webhook, by a file of any size, or by a Braze segment.

handlers     webhook, submit and status answer HTTP; delivery takes parcels from the tag queues
delivering   sender: what a call to SessionM is

Files and segments are read by `member_lists`; rows, jobs and parcels are those of `bulk`.
"""
