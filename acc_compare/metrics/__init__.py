"""How far apart two tensors are: pure functions, arrays or records in, numbers out.

distance     two arrays, element by element              (real data)
statistics   two records, from max, min, mean and norm   (statistics mode)
sketches     two records, from their sketches            (statistics mode)
registry     which of those numbers fills which column
"""
