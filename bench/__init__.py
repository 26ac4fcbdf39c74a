"""How fast it is: the real server beside a handler written by hand, in one run."""
