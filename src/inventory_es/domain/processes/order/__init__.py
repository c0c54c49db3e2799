"""Orders over many products: held, paid, shipped in parts, or given back as a whole."""
