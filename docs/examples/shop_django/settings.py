"""The settings of the project. The environment says where things are."""

import os

from django.core.management.utils import get_random_secret_key

# ── the stock: each place is a URL, but the bus, which is a folder ────────────────────────────────

STOCK_STORE = os.environ.get("SHOP_STORE", "sqlite:shop.db")
STOCK_READ_MODELS = os.environ.get("SHOP_READ_MODELS", "sqlite:shop-queries.db")
STOCK_BUS = os.environ.get("SHOP_BUS", "shop-bus")

# ── the tasks of Celery ───────────────────────────────────────────────────────────────────────────

TASKS_BROKER = os.environ.get("SHOP_BROKER", "filesystem://localhost")
TASKS_FOLDER = os.environ.get("SHOP_TASKS", "shop-tasks")

# ── Django ────────────────────────────────────────────────────────────────────────────────────────

SECRET_KEY = os.environ.get("SHOP_SECRET_KEY") or get_random_secret_key()  # this project signs nothing
ALLOWED_HOSTS = os.environ.get("SHOP_HOSTS", "127.0.0.1,localhost").split(",")
INSTALLED_APPS = [__package__]
MIDDLEWARE = [f"{__package__}.problems.ProblemDetails", "django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = f"{__package__}.urls"
TIME_ZONE = "UTC"
APPEND_SLASH = False
DATA_UPLOAD_MAX_MEMORY_SIZE = 262_144
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SHOP_DATABASE", "shop-site.db"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"},
    }
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {"django.request": {"level": "ERROR"}},  # a refusal is an answer, and no warning
}
