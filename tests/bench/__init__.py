"""What the bundle costs in time, measured from the artefact that is deployed: `make bench`.

One module per area, each with its budgets at the top and a function `figures` that yields `Figure`s; the list is in
`__main__`. Every figure is compared with something measured in the same run, so that it means the same on any machine.
"""
