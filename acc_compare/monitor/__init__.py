"""Lay two monitored training runs side by side, and show one: the reading half of `acc monitor`.

The way the data goes: `runs` (which files) -> `rows` (csv to columns) -> `tables` (series by steps) -> `distances` (how
far apart) -> `noise` (how far is normal) -> `origins` and `trends` (where they part) -> `advisor`, `page`, `pictures`.
Nothing here imports torch; docs/monitor_compare.md has the reasons.
"""
