"""One attempt of a run: the worker process and what it is made of."""
