"""Messages rendered on this machine by Braze's rules, and a linter for the mistakes Braze only shows after sending.

    syntax.py      Braze's own spellings, `${user_id}` and braces inside braces, turned into plain Liquid
    engine.py      the Liquid engine with Braze's tags, filters and comparisons
    tags.py        connected_content, abort_message, message_extras, random
    call.py        what a connected_content tag asks for, once its Liquid is rendered
    fetching.py    what Braze does with that: 2 s, 1 MB, 2xx only, no redirects, cache
    message.py     one field of a message from template to text, :retry and aborts included
    webhook.py     a webhook campaign: its URL, headers and body
    lint.py        what is wrong with a template before anybody renders it

Source: Braze's pages on Liquid, Connected Content and webhooks, as far as they tell; where the pages are silent the
docstrings say what was assumed.
"""
