"""The command line ``inventory-es``: the main job, and a look at what is stored. It needs the extra ``cli``."""
