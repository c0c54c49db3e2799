"""Parts that the contracts of all ports share: the base class, the schedule, the history, and the events of the cases."""
