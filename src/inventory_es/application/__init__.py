"""The use of the domain over any store: commands, strong reads, the service. It knows ports, never adapters."""
