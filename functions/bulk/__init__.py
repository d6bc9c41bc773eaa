"""Something done for very many members, one call to a vendor each: what imports of every kind are made of.

jobs      an import: its states; progress: how far it is; answers: what is told of it
parcels   members, some hundred to a queue message; verdicts: what became of each, written once and counted once
delivery  messages to parcels and back; dispatch: the calls of a batch; pace: how many at a time; crew: their threads

Below the capabilities, which say what a member's call is (`Sending`), and above `clients` and `shared`.
"""
