"""The tables of this project, and the inbox beside them."""

from typing import ClassVar

from django.db import migrations, models

from inventory_es.inbox import TABLE


class Migration(migrations.Migration):
    """The first one."""

    initial = True
    operations: ClassVar[list[object]] = [
        migrations.CreateModel(
            "ProductSales",
            [
                ("product_id", models.CharField(max_length=128, primary_key=True, serialize=False)),
                ("units", models.PositiveBigIntegerField(default=0)),
            ],
        ),
        migrations.RunSQL(TABLE, "DROP TABLE inventory_es_inbox"),
    ]
