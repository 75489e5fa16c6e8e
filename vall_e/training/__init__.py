"""The parts of training; `vall_e.train` is the command."""
