"""The application as a server calls it: ``gunicorn shop_django.wsgi``."""

import os
from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", f"{__package__}.settings")
application = get_wsgi_application()
import_module(
    settings.ROOT_URLCONF
)  # Django loads views with the first request: with --preload, load them before the fork
