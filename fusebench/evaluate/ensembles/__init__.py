"""Several models that answer as one.

`average` is for one vocabulary; `aligned` for several, through alignment: `texts` and `tokens` say which of its own
tokens a member reads at each place, `trees` and `rows` read common beginnings once, `ends` weighs a cut token, `caches`
and `stepper` generate.
"""
