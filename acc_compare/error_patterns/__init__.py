"""What an error looks like in real data: where in the tensor it sits, and what is done to the elements there.

footprint -> regions (where) -> relations (what) -> describe, which the judging calls for its suspects
"""
