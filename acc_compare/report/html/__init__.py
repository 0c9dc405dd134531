"""The page of a comparison: one html file that needs nothing else.

`table` takes the rows apart into columns, `packing` makes each small, `cards` says in markup what needs no script, and
`page` puts all of it together with the bundle that is built from `source`.
"""
