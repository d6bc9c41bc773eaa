"""A Braze segment, or a file of any size, becomes tags in SessionM.

handlers     webhook, submit, status and callback answer HTTP; worker and delivery take messages from queues
what goes    rows, in parcels, and the verdicts they get
an import    jobs: its states; progress: how far it is; finish: its end, with failures and leavers
reading      reading: from checkpoint to checkpoint; objects: bytes out of S3; formats: what the columns are;
             csv_rows and ndjson_rows, by the rules of records
exporting    segment_export: Braze's part; export_bucket: exports in the brand's own bucket; scheduled: those due
delivering   dispatch: the calls of a batch; sender: one call; pace: how many at a time; crew: their threads
"""
