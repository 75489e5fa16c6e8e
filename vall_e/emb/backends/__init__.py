"""One file per third-party library. Only the factory of a registry imports from here, when it is asked to."""
