"""The same job done with other libraries, each in an environment of its own without our package."""
