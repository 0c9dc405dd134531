"""The pages of a folder of dumps on loopback, made anew when a running job writes more.

`library` finds runs and knows when one has grown, `pages` makes and keeps what is asked for, `server` answers.
"""
