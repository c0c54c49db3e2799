"""The command side: handler, lanes of a stream, baskets."""
