"""A journal: lines that are appended, each durable before it counts."""
