"""The one error of the development cluster."""


class Refusal(Exception):
    """This machine cannot do what was asked; the message says why and what to do. Exit 4."""
