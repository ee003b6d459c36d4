"""What the operator is told: the shape of every document that `Reports` gives.

The annotations are what the reference of the command line is written from: the type, the values
that it is one of, and what the field means. A field is always there; `| None` says when it may
be null. Bytes, counts of rows and microseconds are integers.
"""
