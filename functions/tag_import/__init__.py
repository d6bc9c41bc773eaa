"""A Braze segment, or a file of any size, becomes tags in SessionM; what any import is made of is in `bulk`.

handlers     webhook, submit, status and callback answer HTTP; worker and delivery take messages from queues
what goes    rows: a member and its tags
an import    worker: from step to step; finish: its end, with failures and leavers
reading      reading: from checkpoint to checkpoint; objects: bytes out of S3; formats: what the columns are;
             csv_rows and ndjson_rows, by the rules of records
exporting    segment_export: Braze's part; export_bucket: exports in the brand's own bucket; scheduled: those due
delivering   sender: what a call to SessionM is
"""
