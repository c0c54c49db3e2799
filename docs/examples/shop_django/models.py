"""The tables of this project, filled from the events of the stock."""

from django.db import models


class ProductSales(models.Model):
    """The units of a product that were sold, in all stores."""

    product_id = models.CharField(primary_key=True, max_length=128)
    units = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.units} of {self.product_id}"
