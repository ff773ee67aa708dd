"""What each tenant has for itself, in a schema of its own."""
from django.db import models


class Thing(models.Model):
    client = models.IntegerField()
    name = models.TextField(unique=True)
    at = models.DateTimeField()
    price = models.DecimalField(max_digits=10, decimal_places=2, default="1.25")
