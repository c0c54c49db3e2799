"""The contracts of the ports: one package per port, and the packages that they share."""
