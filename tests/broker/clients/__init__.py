"""Programs of other clients, run in environments of their own: ``python -m clients.<program> URL PREFIX [QUEUE]``."""
