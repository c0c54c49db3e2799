"""Several processes over one store: on paper, by simulation in virtual time, and measured."""
