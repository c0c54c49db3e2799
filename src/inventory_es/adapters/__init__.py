"""What stands behind the ports: storage, serialization, the system. Siblings don't know each other."""
