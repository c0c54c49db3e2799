"""The same job done with other libraries, each in an environment of its own, which holds nothing of ours."""
