"""The command line ``inventory-es``. It needs the extra ``cli``."""
