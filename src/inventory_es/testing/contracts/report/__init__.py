"""The report of a run: the matrix of capabilities, and the certificate."""
