"""``python -m inventory_es``: the command line, the same as ``inventory-es``."""

from inventory_es.cli.__main__ import main

if __name__ == "__main__":
    main()
