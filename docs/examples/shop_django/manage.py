"""Django's commands for this project: ``python -m shop_django.manage migrate``."""

import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", f"{__package__}.settings")

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
