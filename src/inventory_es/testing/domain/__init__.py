"""The domain kit: scenarios, strategies, a state machine, and the properties of every history.

Import from the modules, or by name from :mod:`inventory_es.testing`. Scenarios, properties and the desk need the standard
library alone; ``strategies``, ``walks`` and ``machine`` need hypothesis (extra ``testing``).
"""
