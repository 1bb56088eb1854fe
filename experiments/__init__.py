"""The tables and figures of the documents, one declarative file each: `python -m experiments.NAME`."""
