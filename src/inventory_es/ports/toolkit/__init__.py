"""Parts that adapters of the ports share."""
