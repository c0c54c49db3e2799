"""The routes."""

from django.urls import path

from . import views

STORE = "products/<str:product_id>/stores/<str:store_id>"
RESERVATION = f"{STORE}/reservations/<str:reservation_id>"

urlpatterns = [
    path(STORE, views.stock),
    path(f"{STORE}/receipts", views.receive),
    path(f"{STORE}/reservations", views.reserve),
    path(f"{RESERVATION}/commit", views.commit),
    path(f"{RESERVATION}/release", views.release),
    path("bestsellers", views.bestsellers),
    path("health/live", views.live),
    path("health/ready", views.ready),
    path("health/followers", views.followers),
]
