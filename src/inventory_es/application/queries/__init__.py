"""The query side: shipped queries, cached answers, strong reads."""
