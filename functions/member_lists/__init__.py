"""Lists of members, a file or a Braze segment, from where they lie into parcels: for tags and for wallets alike.

handlers     worker takes messages of ImportQueue; callback is Braze's word that an export is there
an import    worker: from step to step; finish: its end, with failures and leavers
exporting    segment_export: Braze's part; export_bucket: exports in the brand's own bucket; scheduled: those due
reading      reading: from checkpoint to checkpoint; objects: bytes out of S3; formats: what the columns are;
             csv_rows and ndjson_rows, by the rules of records; tag_cells: the names in a cell
afterwards   failures: what was not sent, as a file; leavers: who is in the segment no more

Above `bulk`, whose jobs and parcels it fills, and below the capabilities, which ask for a list and deliver its parcels.
"""
