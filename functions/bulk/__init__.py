"""Something done for very many members, one call to a vendor each: what imports of every kind are made of.

jobs      an import: its states; progress: how far it is; answers: what is told of it
rows      what may be asked for a member; parcels: some hundred members to a queue message
verdicts  what became of each row, written once and counted once
delivery  messages to parcels and back; dispatch: the calls of a batch, and figures: what they came to;
          pace: how many calls at a time; crew: their threads

Below `member_lists`, which reads files and exports into parcels, and below the capabilities, which say what a member's
call is (`Sending`); above `clients` and `shared`.
"""
