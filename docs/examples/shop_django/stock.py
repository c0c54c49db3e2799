"""The stock of this project, for every thread. A forked child opens a store of its own."""

from django.conf import settings

from inventory_es.sync import open_inventory

inventory = open_inventory(settings.STOCK_STORE, read_models=settings.STOCK_READ_MODELS)
